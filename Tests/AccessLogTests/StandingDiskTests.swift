import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

@testable import AccessLog

/// Disks that stand for as long as they are told to: a real file system that is frozen, and one whose server is stopped.
@Suite struct StandingDiskTests {
  private static let mount = #"truncate -s 2G "$image" && mkfs.ext4 -q "$image" && mount -o loop "$image" "$disk""#

  static let mayFreeze = worksInNamespace(
    """
    image=$(mktemp) disk=$(mktemp -d) && \(mount) && fsfreeze -f "$disk" && fsfreeze -u "$disk" && umount "$disk"
    code=$?; rm "$image"; rmdir "$disk"; exit $code
    """)

  /// The log's caller writes to a disk of this machine by itself: it is held by the kernel, and goes on all the same.
  @Test(.timeLimit(.minutes(2)), .enabled(if: mayFreeze, "needs root and loop devices"))
  func aDiskOfThisMachineThatStandsHoldsNoCaller() async throws {
    try await withFolder { folder in
      let script = """
        soon() { for i in $(seq 3000); do "$@" && return; sleep 0.02; done; false; }
        image="$2/image" disk="$2/disk"; mkdir "$disk" && \(Self.mount) || exit 1
        trap 'fsfreeze -u "$disk" 2>/dev/null; kill -KILL $writer; wait; umount "$disk"' EXIT
        "$1" "$disk/log" >"$2/printed" & writer=$!
        soon grep -q 10 "$2/printed"
        fsfreeze -f "$disk"
        soon grep -q -- - "$2/printed"
        fsfreeze -u "$disk"
        soon awk '/-/ { full = 1; next } full { on = 1; exit } END { exit !on }' "$2/printed"
        kill -KILL $writer; wait $writer
        mkdir "$2/log" && cp "$disk"/log/* "$2/log"; cat "$2/printed"
        """
      let printed = try await run(script, folder, namespace: true).split(separator: "\n").map(String.init)
      let refused = try #require(printed.indices.first { printed[$0] == "-" }, "nobody was refused")
      #expect(printed[refused...].contains { $0 != "-" }, "it did not go on")
      let (records, summary) = try readAll(folder.appending("log"))
      let acknowledged = printed.filter { $0 != "-" }
      let logged = Set(records.compactMap(\.requestID))
      #expect(logged.isSuperset(of: acknowledged) && logged.count <= acknowledged.count + 3)
      #expect(records.map(\.sequence) == (1...UInt64(records.count)).map { $0 } && summary.damaged.count <= 1)
    }
  }

  /// Opening is refused and closing given up; when the disk goes on, the log can be opened, and the next start ends
  /// what was left.
  @Test(
    .timeLimit(.minutes(2)),
    .enabled(if: CrashTests.mayMountBindfs, "needs root, FUSE and bindfs; Scripts/setup.sh test installs it"),
    arguments: ["", "signed"])
  func openingAndClosingEnd(_ signed: String) async throws {
    try await withFolder { folder in
      let script = """
        soon() { for i in $(seq 3000); do "$@" && return; sleep 0.02; done; false; }
        mkdir "$2/behind" "$2/mount"; bindfs -f "$2/behind" "$2/mount" >/dev/null 2>&1 & server=$!
        # Whatever becomes of the writer, no server stays behind: who waits for this shell would wait for it as well.
        trap '' PIPE
        trap 'cat "$2/printed"; exec 3>&-; kill -CONT $server; umount -l "$2/mount"; kill $server; wait' EXIT
        soon mountpoint -q "$2/mount"
        mkfifo "$2/steps"; "$1" "$2/mount" written steps 1 \(signed) <"$2/steps" >"$2/printed" &
        exec 3>"$2/steps"; said=0
        has() { [ "$(wc -l <"$2/printed")" -ge $said ]; }
        does() { said=$((said + 1)); echo "$1" >&3; soon has "$1" "$2" || exit 1; }
        does open "$2"; does log "$2"
        kill -STOP $server; does log "$2"; does close "$2"; does open "$2"
        kill -CONT $server
        for i in $(seq 10); do does open "$2"; tail -n 1 "$2/printed" | grep -q ok && break; done
        does log "$2"; does close "$2"; exec 3>&-
        mkdir "$2/log"; cp "$2/behind"/* "$2/log"
        """
      let printed = try await run(script, folder, namespace: true).split(separator: "\n").map(String.init)
      #expect(printed.prefix(5) == ["open ok soon", "log ok soon", "log - late", "close ok late", "open - late"])
      #expect(
        printed.suffix(3).map { $0.split(separator: " ").prefix(2).joined(separator: " ") }
          == ["open ok", "log ok", "close ok"])
      let (records, _) = try readAll(folder.appending("log"))
      #expect(Set(records.compactMap(\.requestID)).isSuperset(of: ["2", "\(printed.count - 1)"]))
    }
  }
}

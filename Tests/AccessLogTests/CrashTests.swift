import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

@testable import AccessLog

@Suite struct CrashTests {
  @Test(arguments: [("written", 40), ("written", 150), ("synced", 100)])
  func whatWasAcknowledgedBeforeAKillIsThere(_ durability: String, milliseconds: Int) async throws {
    try await withFolder { folder in
      let (process, output) = (try logWriter(folder.string, durability), Pipe())
      process.standardOutput = output
      try process.run()
      let reading = readingToEnd(of: output.fileHandleForReading)
      // With the second record the first was printed. It ends by itself after 30 s.
      while ((try? readAll(folder).0.count) ?? 0) < 2, process.isRunning {
        try await Task.sleep(for: .milliseconds(10))
      }
      try await Task.sleep(for: .milliseconds(milliseconds))
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
      let printed = String(decoding: await reading.value, as: UTF8.self)
      // The last line printed may be cut too; whole ones end with a newline.
      let acknowledged = try #require(printed.split(separator: "\n", omittingEmptySubsequences: false).dropLast().last)
      let count = try #require(UInt64(acknowledged))
      let (records, summary) = try readAll(folder)
      #expect(records.map(\.sequence) == (1...UInt64(max(1, records.count))).map { $0 })
      #expect(records.count >= count && records.count <= count + 2)
      #expect(summary.damaged.count <= 1 && summary.damaged.lines.allSatisfy { $0.damage == .torn })
    }
  }

  // The kernel takes part of a line, then refuses: the part must go.
  @Test(.disabled(if: isSanitized, "a sanitizer does not run where files are limited"))
  func aLineThatWasTakenInPartIsTakenBack() async throws {
    try await withFolder { folder in
      let script = """
        trap '' XFSZ; ulimit -f 40
        timeout -s KILL 0.5 "$1" "$2"
        true
        """
      let printed = try await run(script, folder).split(separator: "\n")
      let (records, summary) = try readAll(folder)
      #expect(printed.contains("-") && records.count > 10)
      #expect(records.compactMap(\.requestID) == printed.filter { $0 != "-" }.map(String.init))
      #expect(summary.damaged.count == 0)
    }
  }

  @Test(.enabled(if: mayMount, "a small tmpfs needs root"))
  func aFullDiskThatIsFreedGoesOn() async throws {
    try await withFolder { folder in
      let script = """
        mkdir "$2.disk" && mount -t tmpfs -o size=1m tmpfs "$2.disk" || exit 1
        head -c 700000 /dev/zero > "$2.disk/filler"
        out="$2.disk.printed"
        "$1" "$2.disk/log" >"$out" & writer=$!
        until grep -q -- - "$out" || ! kill -0 $writer; do sleep 0.05; done
        rm "$2.disk/filler"
        until awk '/-/ { full = 1; next } full { on = 1; exit } END { exit !on }' "$out" || ! kill -0 $writer
        do sleep 0.01; done
        kill -KILL $writer; wait $writer; cat "$out"; rm "$out"
        cp "$2.disk"/log/* "$2"; umount "$2.disk"; rmdir "$2.disk"
        """
      let printed = try await run(script, folder, namespace: true).split(separator: "\n").map(String.init)
      let refused = try #require(printed.firstIndex(of: "-"), "the disk was never full")
      #expect(printed[refused...].contains { $0 != "-" }, "it did not go on")
      let (records, summary) = try readAll(folder)
      let logged = records.compactMap(\.requestID)
      let acknowledged = printed.filter { $0 != "-" }
      #expect(logged.count - acknowledged.count <= 1 && Array(logged.prefix(acknowledged.count)) == acknowledged)
      #expect(records.map(\.sequence) == (1...UInt64(records.count)).map { $0 })
      #expect(summary.damaged.count <= 1)
    }
  }

  static let mayTrace = FileManager.default.isExecutableFile(atPath: "/usr/bin/strace")

  /// A disk that takes a new file's first line and cannot keep it: the file is closed once, as by then its number may be
  /// that of another thread's file.
  @Test(.enabled(if: mayTrace, "needs strace")) func aNewFileThatFailsIsClosedOnce() async throws {
    try await withFolder { folder in
      let script = """
        echo open | strace -f -qq -e trace=close,fdatasync -e inject=fdatasync:error=EIO -o "$2.trace" "$1" "$2" synced steps 1 signed
        cat "$2.trace"; rm "$2.trace"
        """
      let printed = try await run(script, folder).split(separator: "\n")
      #expect(printed.contains("open - soon") && printed.contains { $0.contains("INJECTED") })
      #expect(printed.filter { $0.contains("EBADF") } == [])
    }
  }

  static let mayMountBindfs =
    mayMount && FileManager.default.isExecutableFile(atPath: "/usr/bin/bindfs")
    && FileManager.default.isWritableFile(atPath: "/dev/fuse")

  /// As with a server of NFS that does not answer: a file system in a process that is stopped. The first call that
  /// meets it is refused at its deadline like all others, and does not stand until the server goes on.
  @Test(.enabled(if: mayMountBindfs, "needs root, FUSE and bindfs; Scripts/setup.sh test installs it"))
  func aFileSystemThatStandsGoesOn() async throws {
    try await withFolder { folder in
      let script = """
        mkdir "$2.behind" "$2.mount" && bindfs -f "$2.behind" "$2.mount" >/dev/null 2>&1 & server=$!
        until mountpoint -q "$2.mount"; do sleep 0.01; done
        out="$2.printed"
        "$1" "$2.mount" >"$out" & writer=$!
        until grep -q 10 "$out" || ! kill -0 $writer; do sleep 0.01; done
        kill -STOP $server
        until grep -q -- - "$out" || ! kill -0 $writer; do sleep 0.05; done
        kill -CONT $server
        until awk '/-/ { full = 1; next } full { on = 1; exit } END { exit !on }' "$out" || ! kill -0 $writer
        do sleep 0.01; done
        kill -KILL $writer; wait $writer; umount -l "$2.mount"; kill $server; wait $server; cat "$out"; rm "$out"
        cp "$2.behind"/* "$2"; rm -r "$2.behind"; rmdir "$2.mount"
        """
      let printed = try await run(script, folder, namespace: true).split(separator: "\n").map(String.init)
      let refused = try #require(printed.firstIndex(of: "-"), "nobody was refused")
      #expect(printed[refused...].contains { $0 != "-" }, "it did not go on")
      let (records, summary) = try readAll(folder)
      let acknowledged = printed.filter { $0 != "-" }
      let logged = Set(records.compactMap(\.requestID))
      #expect(logged.isSuperset(of: acknowledged))
      // What was on its way at its deadline, or when the writer was killed, may be there: no more.
      #expect(logged.count <= acknowledged.count + 3)
      #expect(records.map(\.sequence) == (1...UInt64(records.count)).map { $0 } && summary.damaged.count <= 1)
    }
  }
}

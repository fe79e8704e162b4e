import Foundation
import TestSupport
import Testing

/// Files of several segments, by the command.
struct FileTests {
  @Test("parts of a file, as dd gives them")
  func parts() async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let outcome = try await workspace.run(
      """
      set -e
      strongroom init >/dev/null; head -c 5000000 /dev/urandom >plain
      strongroom encrypt plain -o sealed --context a=b
      part() { strongroom decrypt sealed --context a=b -o - "$@"; }
      cmp <(part --offset 1048000 --length 4096) <(tail -c +1048001 plain | head -c 4096); echo same
      cmp <(part --length 3) <(head -c 3 plain); echo same
      cmp <(part --offset 4999990) <(tail -c 10 plain); echo same
      part --offset 4999990 --length 11 | wc -c
      part --offset 5000000 | wc -c
      strongroom decrypt sealed --context a=b -o part --offset 17 --length 2000000
      cmp part <(tail -c +18 plain | head -c 2000000); echo same
      """)
    #expect(outcome.output.lines == ["same", "same", "same", "10", "0", "same"], "\(outcome)")
    for (arguments, code, text) in [
      ("sealed --context a=b -o - --offset 5000001", 2, "5000000 bytes"), ("sealed -o x --length 1", 7, "context"),
      ("- -o x --offset 1", 2, "need a file"), ("sealed --column a -o x --offset 1", 2, "need a file"),
      ("sealed -o x --length=-1", 2, "negative"),
    ] {
      let refused = try await workspace.run("strongroom decrypt \(arguments)")
      #expect(refused.exitCode == code && refused.errors.contains(text), "\(arguments): \(refused)")
    }
    #expect(try workspace.snapshot()["x"] == nil)
  }

  @Test("a full disk says so and leaves nothing", .enabled(if: mayMount, "a small tmpfs needs root"))
  func fullDisk() async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let outcome = try await workspace.run(
      """
      strongroom init >/dev/null; head -c 9000000 /dev/zero >plain; strongroom encrypt plain -o sealed; mkdir disk
      unshare -m bash -c '
        mount -t tmpfs -o size=4m tmpfs disk || exit 1
        for operation in "encrypt plain" "decrypt sealed"; do
          strongroom $operation -o disk/output; echo "ended with $?"; ls -A disk; df --output=used disk | tail -1
        done'
      """)
    #expect(
      outcome.output.lines.map { $0.trimmingCharacters(in: .whitespaces) } == [
        "ended with 1", "0", "ended with 1", "0",
      ], "\(outcome)")
    #expect(outcome.errors.components(separatedBy: "No space left on device").count == 3, "\(outcome)")
  }
}

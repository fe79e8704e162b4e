import Foundation
import Testing

/// A process that has done its work ends well, whatever its threads are at just then.
@Suite(.enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/cc"), "cc is not installed"))
struct ExitTests {
  @Test(.timeLimit(.minutes(3)))
  func aThreadMayUseLibcryptoAsTheProcessEnds() async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let outcome = try await workspace.run(
      """
      set -e
      cc -shared -fPIC -o late.so "$FIXTURES/libcrypto-late.c"
      strongroom init >/dev/null
      LD_PRELOAD=./late.so strongroom key list
      """)
    #expect(outcome.exitCode == 0 && outcome.output.contains("default"), "\(outcome.errors)")
  }
}

import Foundation
import Testing

private let toolsAreThere = ["/usr/bin/cc", "/usr/bin/gfcombine"].allSatisfy {
  FileManager.default.fileExists(atPath: $0)
}

/// SIGKILL between every two steps of `recovery create`: no key without its shares, and the next run finishes it or
/// takes it back.
@Suite(.timeLimit(.minutes(20)), .enabled(if: toolsAreThere, "cc or libgfshare-bin is not installed"))
struct RecoveryKillTests {
  @Test(arguments: ["keystore", "token"])
  func killedAtEveryStep(_ kind: String) async throws {
    if kind == "token", Workspace.module == nil { try Test.cancel("SoftHSM is not installed") }
    let workspace = try Workspace()
    defer { workspace.remove() }
    let prepared = try await workspace.run(
      """
      cc -shared -fPIC -o kill-at.so "$FIXTURES/kill-at.c" || exit
      if [ \(kind) = token ]; then
        softhsm2-util --init-token --free --label vault --so-pin 9988-7766 --pin "$PIN" >/dev/null
        (umask 077; echo "$PIN" >pin)
        strongroom init --module "$MODULE" --token vault --pin-source file:pin
      else
        strongroom init
      fi
      """)
    #expect(prepared.exitCode == 0, "\(prepared.errors)")
    var wasKilled = true
    var step = 0
    while wasKilled {
      step += 1
      try #require(step < 100)
      let name = "offline-\(step)"
      let create = "strongroom recovery create \(name) --shares 2 --threshold 2 --out kit-\(step)"
      let killed = try await workspace.run("KILL_AT=\(step) LD_PRELOAD=./kill-at.so \(create); exit $?")
      wasKilled = killed.exitCode == 137
      #expect(wasKilled || killed.exitCode == 0, "step \(step): \(killed.errors)")
      // What is in the provider has all its shares already.
      let after = try await workspace.run("strongroom key list | grep -c '^\(name) '; ls kit-\(step)")
      let isThere = after.output.hasPrefix("1\n")
      if isThere { #expect(after.output.contains("\(name).001\n\(name).002\n\(name).txt"), "step \(step)") }
      let again = try await workspace.run(create)
      let isReady = again.errors.contains("is in kit-\(step) already")
      #expect(again.exitCode == (isReady ? 1 : 0), "step \(step): \(again.errors)")
      // One key, which the shares give back.
      let proof = try await workspace.run(
        """
        set -e
        [ $(strongroom key list | grep -c '^\(name) ') = 1 ]
        grep -q 'state: ready' kit-\(step)/\(name).txt
        [ $(ls -A kit-\(step) | wc -l) = 3 ]
        gfcombine -o key kit-\(step)/\(name).001 kit-\(step)/\(name).002
        export STRONGROOM_DATA_AT_REST_RECOVERY_RECIPIENTS=\(name)
        rm -f sealed; strongroom encrypt strongroom.yaml -o sealed
        strongroom recovery drill sealed --key-file key
        """)
      #expect(proof.exitCode == 0, "step \(step): \(proof.output)\(proof.errors)")
    }
    // Folder, note, shares, the key itself, the note again: else the steps were not counted.
    #expect(step > 15, "\(step)")
  }
}

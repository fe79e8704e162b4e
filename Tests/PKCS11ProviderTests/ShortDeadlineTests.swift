import KMSCore
import PKCS11Provider
import TestSupport
import Testing

/// Deadlines that pass in the midst of everything: callers go while threads still work for them.
@Suite(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
struct ShortDeadlineTests {
  /// What is late may fail, but not end the process, nor give a wrong answer. A lane went with its last caller once,
  /// under the thread that was still handing the call over: this test found it in 10 to 20 s of its time.
  @Test func callsThatAreTooLateDisturbNoOther() async throws {
    let end = ContinuousClock.now + .seconds(4)
    try await withThrowingTaskGroup { group in
      for number in 0..<8 {
        let token = try SoftHSM.makeToken()
        group.addTask {
          while ContinuousClock.now < end {
            try await Self.openUseAndClose(
              token, number.isMultiple(of: 2) ? .a256GCM : .a256KW,
              deadline: .milliseconds([1, 2, 5, 20, 100, 2000].randomElement() ?? 1))
          }
        }
      }
      try await group.waitForAll()
    }
  }

  private static func openUseAndClose(_ token: SoftHSM.Token, _ way: WrapAlgorithm, deadline: Duration) async throws {
    let provider = PKCS11Provider(
      PKCS11Configuration(
        name: "hsm", tokens: [try PKCS11URI(parsing: token.uri)], pin: secret(token.pin), deadline: deadline,
        reopenInterval: .milliseconds(1), wrapAlgorithms: [way]))
    let id = KeyVersionID.make()
    _ = try? await provider.createKeyVersion(NewKeyVersion(key: KeyName("k"), id: id))
    await withTaskGroup { group in
      for _ in 0..<4 {
        group.addTask {
          for _ in 0..<30 {
            let key = SecretBytes.random(count: 32)
            guard let wrapped = try? await provider.wrap(key, under: id, aad: [1]),
              let back = try? await provider.unwrap(wrapped, under: id, aad: [1])
            else { continue }
            let same = back.equals(key)
            #expect(same)
          }
        }
      }
    }
    for state in [KeyState.deactivated, .destroyed] { _ = try? await provider.setState(state, of: id) }
    await provider.close()
  }
}

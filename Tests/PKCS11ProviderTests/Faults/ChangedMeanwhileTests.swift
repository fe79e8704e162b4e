import KMSCore
import PKCS11
import PKCS11Provider
import TestSupport
import Testing

/// A change of state that has waited, and finds that another was first; and one that was cut off in its midst.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct ChangedMeanwhileTests {
  /// It was allowed when the key was suspended only.
  @Test(.timeLimit(.minutes(1))) func aCompromiseThatCameFirstStands() async throws {
    let inPlace = "missing C_CopyObject"
    let module = try FaultyModule(inPlace)
    let (one, other) = (try module.impatient(), try FaultyModule(inPlace, token: module.token).impatient())
    let id = try await one.makeKey()
    _ = try await one.setState(.suspended, of: id)
    #expect(try await other.keyVersions(of: nil).map(\.state) == [.suspended])
    // The keys are read by three searches; what comes next is the change.
    let before = module.calls(of: "C_FindObjectsInit")
    try module.control(inPlace, "on C_FindObjectsInit at 4 hang")
    async let outcome = failure { _ = try await one.setState(.active, of: id) }
    try await until { module.calls(of: "C_FindObjectsInit") == before + 3 }
    _ = try await other.setState(.compromised, of: id)
    try module.control(inPlace)
    let error = await outcome
    #expect(error?.code == .illegalStateTransition, "\(error as Any)")
    for provider in [one, other] {
      #expect(try await provider.keyVersions(of: nil).map(\.state) == [.compromised])
      await provider.close()
    }
  }

  /// What was wrapped since would be lost.
  @Test(.timeLimit(.minutes(1))) func aKeyThatIsUsedAgainIsNotDestroyed() async throws {
    let module = try FaultyModule()
    let (one, other) = (try module.impatient(), try module.token.provider())
    let id = try await one.makeKey()
    _ = try await one.setState(.deactivated, of: id)
    #expect(try await other.keyVersions(of: nil).map(\.state) == [.deactivated])
    // The index reads one key's attributes; what comes next is the destruction.
    let before = module.calls(of: "C_GetAttributeValue")
    try module.control("on C_GetAttributeValue at 2 hang")
    async let outcome = failure { _ = try await one.setState(.destroyed, of: id) }
    try await until { module.calls(of: "C_GetAttributeValue") == before + 1 }
    _ = try await other.setState(.active, of: id)
    let wrapped = try await other.wrapOnce(id)
    try module.control()
    let error = await outcome
    #expect(error?.code == .illegalStateTransition, "\(error as Any)")
    for provider in [one, other] {
      #expect(try await provider.keyVersions(of: nil).map(\.state) == [.active])
      _ = try await provider.unwrap(wrapped, under: id, aad: boundData)
      await provider.close()
    }
  }

  /// The session is lost after the token did it: the key is gone, and the caller is told so, and not that there was none.
  @Test(arguments: [(WrapAlgorithm.a256KW, 1), (.a256KW, 2), (.rsaOAEPSHA1, 1), (.rsaOAEPSHA1, 2), (.rsaOAEPSHA1, 3)])
  func aDestructionThatWasCutOffIsCompleted(algorithm: WrapAlgorithm, at number: Int) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(algorithms: [algorithm])
    let id = try await provider.makeKey()
    _ = try await provider.setState(.compromised, of: id)
    try module.control("on C_DestroyObject at \(number) finish CKR_SESSION_CLOSED")
    #expect(try await provider.setState(.destroyed, of: id).state == .destroyed)
    #expect(module.trace.contains("C_DestroyObject CKR_SESSION_CLOSED"))
    let left = try module.withSession { session throws(CallFailure) in
      try session.find(Template([(.token, .flag(true))])).count
    }
    #expect(left == 0)
    #expect(await failure { _ = try await provider.setState(.destroyed, of: id) }?.code == .keyNotFound)
    await provider.close()
  }

  private func until(_ condition: () -> Bool) async throws {
    for _ in 0..<3000 where !condition() { try await Task.sleep(for: .milliseconds(10)) }
    #expect(condition())
  }
}

import KMSCore
import PKCS11Provider
import TestSupport
import Testing

@Suite(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
struct SessionCountsTests {
  @Test func healthTellsOfSessions() async throws {
    let provider = try SoftHSM.makeToken().provider(maxSessions: 3)
    let version = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("customer-pii")))
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<20 {
        group.addTask {
          _ = try? await provider.wrap(SecretBytes.random(count: 32), under: version.id, aad: [])
        }
      }
    }
    let sessions = try #require(await provider.health().sessions)
    #expect(sessions.limit == 3 && (1...3).contains(sessions.open) && sessions.busy == 0, "\(sessions)")
    await provider.close()
    #expect(await provider.health().sessions == nil)
  }

  /// All that the token gives, which one would not be told of.
  @Test(
    .enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built"),
    arguments: [
      ("on C_WrapKey delay 5", 4), ("session-limit 3", 2), ("on C_OpenSession from 3 fail CKR_FUNCTION_FAILED", 3),
    ])
  func aSlowTokenIsUsedByManySessions(fault: String, count: Int) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(maxSessions: 4)
    let id = try await provider.makeKey()
    // Counted from here on: the session that the provider has.
    try module.control("on C_WrapKey delay 5", fault)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask { for _ in 0..<10 { _ = try await provider.wrapOnce(id) } }
      }
      try await group.waitForAll()
    }
    let sessions = try #require(await provider.health().sessions)
    #expect(sessions.open == count && sessions.limit == count, "\(sessions)")
    await provider.close()
  }
}

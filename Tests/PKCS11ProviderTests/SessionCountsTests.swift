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
}

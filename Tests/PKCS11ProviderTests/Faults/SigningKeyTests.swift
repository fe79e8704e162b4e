import KMSCore
import PKCS11
import PKCS11Provider
import TestSupport
import Testing

@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct SigningKeyTests {
  @Test(arguments: [
    "say CKA_PRIVATE=false", "say CKA_SENSITIVE=false", "say CKA_EXTRACTABLE=true", "say CKA_LOCAL=false",
    "say CKA_DERIVE=true",
  ])
  func aKeyThatIsNotAsAskedForIsDestroyedAgain(fault: String) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let name = try KeyName("log")
    #expect(try await provider.signingKey(named: name) == nil)
    try module.control(fault)
    let error = await failure { _ = try await provider.createSigningKey(named: name) }
    #expect(error?.code == .tokenNotTrustworthy, "\(error as Any)")
    try module.control()
    #expect(try await provider.strayObjectCount() == 0)
    // What it asks for, it gets.
    let made = try await provider.createSigningKey(named: name)
    #expect(try await provider.signingKey(named: name) == made)
    await provider.close()
  }
}

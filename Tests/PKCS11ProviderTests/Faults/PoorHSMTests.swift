import KMSCore
import PKCS11Provider
import TestSupport
import Testing

/// SoftHSM without some of its mechanisms (`slots.mechanisms`): it refuses them itself, and C_GetMechanismInfo still
/// claims them.
@Suite(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
struct PoorHSMTests {
  @Test(arguments: [
    ("CKM_AES_GCM", WrapAlgorithm.a256KW), ("CKM_AES_KEY_WRAP", .a256GCM),
    ("CKM_AES_KEY_WRAP,CKM_AES_GCM", .rsaOAEPSHA1),
  ])
  func keysWrapByWhatIsLeft(taken: String, left: WrapAlgorithm) async throws {
    let token = try SoftHSM.makeToken(mechanisms: "-,\(taken)")
    let provider = PKCS11Provider(
      PKCS11Configuration(
        name: "hsm", tokens: [try PKCS11URI(parsing: token.uri)], pin: secret(token.pin),
        wrapAlgorithms: PKCS11Configuration.defaultWrapAlgorithms + [.rsaOAEPSHA1]))
    let id = try await provider.makeKey()
    #expect(try await provider.wrapOnce(id).algorithm == left)
    #expect(try await provider.roundTrips(id))
    _ = try await provider.setState(.suspended, of: id)
    #expect(try await provider.keyVersions(of: nil).map(\.state) == [.suspended])
    await provider.close()
    let found = try await TokenExamination.run(
      module: token.module, token: token.label, pin: secret(token.pin), measures: false)
    #expect(found.trials.filter { $0.isListed && taken.contains($0.mechanism) }.isEmpty, "\(found.trials)")
    #expect(found.algorithm == (left == .rsaOAEPSHA1 ? nil : left), "\(found.trials)")
  }

  @Test func withoutAnyTheErrorSaysWhatWasTried() async throws {
    let token = try SoftHSM.makeToken(mechanisms: "-,CKM_AES_KEY_WRAP,CKM_AES_GCM,CKM_RSA_PKCS_OAEP")
    let provider = try token.provider()
    let error = await failure { _ = try await provider.makeKey() }
    #expect(error?.code == .notSupported, "\(error as Any)")
    for algorithm in PKCS11Configuration.defaultWrapAlgorithms {
      #expect(error?.cause?.contains("\(algorithm)") == true, "\(error as Any)")
    }
    await provider.close()
  }
}

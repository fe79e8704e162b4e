import KMSCore
import KMSTesting
import PKCS11Provider
import TestSupport
import Testing

/// NSS softokn: another implementation than SoftHSM. It keeps no data objects, has OAEP with SHA-256, and wants to be
/// started with a text. One after the other: its copies share a library underneath.
@Suite(.serialized, .enabled(if: NSSToken.isInstalled, Comment(rawValue: NSSToken.whySkipped)))
struct NSSTests {
  @Test(arguments: ProviderContract.checks)
  func theContract(check: ProviderContract.Check) async throws {
    let token = try NSSToken()
    try await check.run(ProviderFactory(reopen: { _ in try token.provider() }) { try token.provider() })
  }

  @Test(arguments: [WrapAlgorithm.a256GCM, .rsaOAEP256])
  func theOtherWaysToWrap(algorithm: WrapAlgorithm) async throws {
    let token = try NSSToken()
    var provider = try token.provider(wrapAlgorithms: [algorithm])
    let (id, other) = (try await provider.makeKey(), try await provider.makeKey("other"))
    let secret = SecretBytes.random(count: 32)
    let wrapped = try await provider.wrap(secret, under: id, aad: boundData)
    #expect(wrapped.algorithm == algorithm)
    let underAnother = await failure { _ = try await provider.unwrap(wrapped, under: other, aad: boundData) }
    #expect(underAnother?.code == .doesNotOpen, "\(underAnother as Any)")
    // For RSA a number that is larger than any modulus.
    let large = WrappedKey(algorithm: algorithm, bytes: [UInt8](repeating: 0xFF, count: wrapped.bytes.count))
    let tooLarge = await failure { _ = try await provider.unwrap(large, under: id, aad: boundData) }
    #expect(tooLarge?.code == .doesNotOpen, "\(tooLarge as Any)")
    for state in [KeyState.deactivated, .suspended, .active, .compromised] {
      #expect(try await provider.setState(state, of: id).state == state)
      await provider.close()
      provider = try token.provider(wrapAlgorithms: [algorithm])
      #expect(try await provider.keyVersions(of: KeyName("key")).map(\.state) == [state])
    }
    let back = try await provider.unwrap(wrapped, under: id, aad: boundData)
    let same = back.equals(secret)
    #expect(same)
    _ = try await provider.setState(.deactivated, of: other)
    for id in [id, other] { _ = try await provider.setState(.destroyed, of: id) }
    #expect(try await provider.keyVersions(of: nil) == [])
    #expect(try await provider.strayObjectCount() == 0)
    await provider.close()
  }

  /// What stands in data objects elsewhere.
  @Test func recordsAreKeysThatAreGoodForNothing() async throws {
    let token = try NSSToken()
    let provider = try token.provider()
    let id = try await provider.makeKey()
    #expect(try await provider.setState(.suspended, of: id).enforcement == .token)
    #expect(try await provider.strayObjectCount() == 0)
    #expect(try await provider.adoptableKeys().isEmpty, "a record is offered for adoption")
    await provider.close()
  }

  @Test func aModuleIsStartedOnce() async throws {
    let token = try NSSToken()
    let (first, second) = (try token.provider(), try token.provider())
    let id = try await first.makeKey()
    #expect(try await second.roundTrips(id))
    await first.close()  // does not end it under the second
    #expect(try await second.roundTrips(id))
    let other = PKCS11Provider(
      PKCS11Configuration(
        name: "other", tokens: [try PKCS11URI(parsing: "pkcs11:token=nss?module-path=\(token.module)")],
        pin: secret(token.pin), initArguments: "configdir='sql:/nowhere'"))
    let error = await failure { _ = try await other.keyVersions(of: nil) }
    #expect(error?.code == .configurationInvalid && error?.message.contains("init-args") == true, "\(error as Any)")
    await second.close()
    #expect(try await first.isClosedForGood())
  }

  @Test(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
  func aModuleThatWantsNoTextSaysSo() async throws {
    let faulty = try FaultyModule()
    let provider = PKCS11Provider(
      PKCS11Configuration(
        name: "hsm", tokens: [try PKCS11URI(parsing: faulty.uri)], pin: secret(faulty.token.pin),
        initArguments: "configdir='sql:/nowhere'"))
    let error = await failure { _ = try await provider.keyVersions(of: nil) }
    #expect(error?.code == .providerUnavailable && error?.advice.contains("init-args") == true, "\(error as Any)")
  }
}

extension PKCS11Provider {
  fileprivate func isClosedForGood() async throws -> Bool {
    await failure { _ = try await keyVersions(of: nil) }?.code == .closed
  }
}

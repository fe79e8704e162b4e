import CryptoPrimitives
import InMemoryProvider
import KMSCore
import SoftwareKeys

/// Keys in memory that wrap by A256GCM; one thing about them may be wrong.
final class FlawedProvider: KMSProvider, DirectEncrypting, Signing {
  enum Flaw: CaseIterable {
    case directIV, wrapIV, wrapAAD, signature, signerIsListed
  }

  let identity = ProviderIdentity(kind: "flawed", name: "flawed")
  private let flaw: Flaw?
  /// Has the versions and their rules. What it encrypts is thrown away.
  private let base = InMemoryProvider(name: "flawed")
  private let kek = SecretBytes.random(count: 32)

  init(_ flaw: Flaw?) { self.flaw = flaw }

  func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    let versions = try await base.keyVersions(of: name)
    guard flaw == .signerIsListed, let signer = try await base.signingKey(named: KeyName("contract")) else {
      return versions
    }
    return versions + [
      KeyVersion(
        id: signer.id, key: signer.name, purpose: .wrap, state: .active, enforcement: .suite, provider: identity.name)
    ]
  }
  func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try await base.createKeyVersion(request)
  }
  func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    try await base.setState(state, of: id)
  }

  func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    _ = try await base.wrap(key, under: id, aad: aad)
    let sealed = try key.withBytes { try seal($0, id, flaw == .wrapAAD ? [] : aad, withOldIV: flaw == .wrapIV) }
    return WrappedKey(algorithm: .a256GCM, iv: sealed.iv, bytes: sealed.bytes)
  }

  func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try await check(id, for: .wrap)
    guard wrapped.algorithm == .a256GCM else { throw KMSError(.notSupported, "not known here") }
    return try open(DirectCiphertext(iv: wrapped.iv, bytes: wrapped.bytes), id, flaw == .wrapAAD ? [] : aad)
  }

  func encrypt(_ plaintext: Span<UInt8>, under id: KeyVersionID, aad: [UInt8]) async throws -> DirectCiphertext {
    _ = try await base.encrypt(plaintext, under: id, aad: aad)
    return try seal(plaintext, id, aad, withOldIV: flaw == .directIV)
  }

  func decrypt(_ ciphertext: DirectCiphertext, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try await check(id, for: .encrypt)
    return try open(ciphertext, id, aad)
  }

  func signingKey(named name: KeyName) async throws -> SigningKey? { try await base.signingKey(named: name) }
  func createSigningKey(named name: KeyName) async throws -> SigningKey { try await base.createSigningKey(named: name) }
  func sign(_ message: [UInt8], with id: KeyVersionID) async throws -> [UInt8] {
    try await base.sign(flaw == .signature ? Array(message.prefix(100)) : message, with: id)
  }

  func health() async -> ProviderHealth { await base.health() }
  func close() async { await base.close() }

  private func check(_ id: KeyVersionID, for purpose: KeyPurpose) async throws {
    guard let version = try await base.keyVersions(of: nil).first(where: { $0.id == id }) else {
      throw KMSError(.keyNotFound, "there is no key version \(id)")
    }
    try version.check(purpose: purpose, allowing: \.unwraps, operation: "unwrap")
  }

  private func seal(
    _ plaintext: Span<UInt8>, _ id: KeyVersionID, _ aad: [UInt8], withOldIV: Bool
  ) throws -> DirectCiphertext {
    let iv = withOldIV ? [UInt8](repeating: 7, count: 12) : Randomness.bytes(12)
    return DirectCiphertext(
      iv: iv, bytes: try AESGCM(key: kek).seal(plaintext, iv: iv.span, aad: (id.bytes + aad).span))
  }

  private func open(_ ciphertext: DirectCiphertext, _ id: KeyVersionID, _ aad: [UInt8]) throws -> SecretBytes {
    try SoftwareKeys.decrypt(ciphertext, aad: id.bytes + aad, kek: kek)
  }
}

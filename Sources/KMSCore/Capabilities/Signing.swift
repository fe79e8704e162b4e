/// A provider that holds keys for signing: of its own purpose, made inside, and for nothing but signing.
///
/// ECDSA on P-256 with SHA-256 (FIPS 186-5). Signing keys are no key versions: they are not listed with them, and
/// wrap nothing.
public protocol Signing: KMSProvider {
  /// The newest signing key of that name; nil when there is none.
  func signingKey(named name: KeyName) async throws -> SigningKey?

  /// Makes another signing key of that name.
  ///
  /// - Throws: ``KMSError/Code/notSupported`` when the token cannot.
  func createSigningKey(named name: KeyName) async throws -> SigningKey

  /// Signs SHA-256 of `message`.
  ///
  /// - Returns: an ECDSA-Sig-Value (RFC 3279) in DER.
  /// - Throws: ``KMSError/Code/keyNotFound``.
  func sign(_ message: [UInt8], with id: KeyVersionID) async throws -> [UInt8]
}

/// A signing key's public half.
public struct SigningKey: Sendable, Hashable {
  /// Made by the suite, as for a key version.
  public let id: KeyVersionID
  /// What it is called.
  public let name: KeyName
  /// SubjectPublicKeyInfo (RFC 5280) in DER.
  public let publicKey: [UInt8]

  /// As a provider holds it.
  public init(id: KeyVersionID, name: KeyName, publicKey: [UInt8]) {
    self.id = id
    self.name = name
    self.publicKey = publicKey
  }
}

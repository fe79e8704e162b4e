public import KMSCore
import Synchronization

/// Signs the log's checkpoints by a key that a provider holds.
///
/// It calls the provider past the access log: the log writes a record of each of these calls itself, and that record
/// asks for no signature of its own.
public final class LogSigner: Sendable {
  private let provider: any KMSProvider
  private let name: KeyName
  private let key = Mutex<(id: KeyVersionID, verifier: LogVerifierKey)?>(nil)

  /// - Parameters:
  ///   - provider: one that is ``Signing``; with any other, every signature fails.
  ///   - name: of the signing key.
  public init(_ provider: any KMSProvider, key name: KeyName) {
    self.provider = provider
    self.name = name
  }

  var providerName: String { provider.identity.name }
  var keyName: String { name.description }

  private func signing() throws(KMSError) -> any Signing {
    if let provider = provider as? any Signing { return provider }
    throw KMSError(
      .notSupported, "provider '\(provider.identity.name)' holds no keys that sign, so the access log is not signed",
      advice: "Name a provider of type pkcs11 or openssl in access-log.signing-provider, or take signing-key away.")
  }

  /// The key; made when `creating` and there is none.
  ///
  /// - Throws: ``KMSError/Code/keyNotFound``, ``KMSError/Code/notSupported``, and what the provider throws.
  public func verifierKey(creating: Bool = false) async throws -> LogVerifierKey {
    try await signingKey(creating: creating).verifier
  }

  /// The key that signed a log: this one, or that of another name which the provider has still.
  func verifierKey(of origin: String) async throws -> LogVerifierKey {
    let own = try await verifierKey()
    guard let signed = LogTree.keyName(of: origin), signed != name.description, let other = try? KeyName(signed) else {
      return own
    }
    return try await signing().signingKey(named: other).map { LogVerifierKey($0) } ?? own
  }

  private func signingKey(creating: Bool = false) async throws -> (id: KeyVersionID, verifier: LogVerifierKey) {
    if let key = key.withLock({ $0 }) { return key }
    let provider = try signing()
    var found = try await provider.signingKey(named: name)
    if found == nil, creating { found = try await provider.createSigningKey(named: name) }
    guard let found else {
      throw KMSError(
        .keyNotFound, "there is no key '\(name)' for signing the access log",
        advice: "Make it once with: strongroom log key --create", provider: provider.identity.name,
        key: name.description)
    }
    let signing = (id: found.id, verifier: LogVerifierKey(found))
    key.withLock { $0 = signing }
    return signing
  }

  func sign(_ text: String) async throws -> SignedNote {
    let (id, verifier) = try await signingKey()
    let signature = try await signing().sign(Array(text.utf8), with: id)
    let note = SignedNote(text: text, keyName: verifier.name, keyID: verifier.id, signature: signature)
    // Nobody else looks at it before it matters.
    guard verifier.verifies(note) else {
      throw KMSError(
        .tokenNotTrustworthy, "the provider gave a signature that its own public key does not verify",
        advice: "Check the provider with 'strongroom doctor'.", provider: provider.identity.name, key: name.description)
    }
    return note
  }
}

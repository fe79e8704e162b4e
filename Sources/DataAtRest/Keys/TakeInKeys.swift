internal import AccessLog
public import KMSCore

/// Keys that were made elsewhere: adopted where they are, or brought in as bytes. Both in the provider that makes
/// new versions.
extension DataAtRestManager {
  /// The keys in the provider that somebody else made, with what speaks against each.
  ///
  /// - Throws: ``KMSError/Code/notSupported`` where a provider holds no keys but ours.
  public func adoptableKeys(principal: String? = nil) async throws -> [AdoptionCandidate] {
    try await providers.provider(providers.primaryName, access: Access(principal: principal), key: nil)
      .adoptableKeys()
  }

  /// Makes a key that somebody else made in the provider a version of `key`, beside those it may have. It sorts
  /// before every version that the suite made; a rotation makes the next one.
  ///
  /// - Parameter restricting: see ``KeyAdopting/adoptKey(_:restricting:)``.
  /// - Throws: ``KMSError/Code/keyNotAdoptable`` and what else ``KeyAdopting/adoptKey(_:restricting:)`` throws.
  @discardableResult
  public func adoptKey(
    _ id: KeyVersionID, as key: KeyName, purpose: KeyPurpose = .wrap, restricting: Bool = false,
    principal: String? = nil
  ) async throws -> AdoptedKey {
    let request = NewKeyVersion(key: key, purpose: purpose, id: id)
    try InputRules.checkCreation(request)  // nobody knows of a copy of it
    let provider = try await receiver(of: key, purpose, reason: "adopted", principal: principal)
    let adopted = try await provider.adoptKey(request, restricting: restricting)
    directory.invalidate()
    return adopted
  }

  /// Brings a KEK's bytes in as an active version of `key`.
  ///
  /// - Parameters:
  ///   - material: 32 bytes, not all zero. The caller's copy is the caller's to wipe.
  ///   - id: a new one when nil, later than the key's others, so that new data goes under it; given to bring a KEK
  ///     back under the id that envelopes name.
  /// - Throws: ``KMSError/Code/notSupported`` where the token takes none, ``KMSError/Code/invalidInput``,
  ///   ``KMSError/Code/duplicateKeyVersion``.
  @discardableResult
  public func importKeyVersion(
    _ material: borrowing SecretBytes, of key: KeyName, purpose: KeyPurpose = .wrap, id: KeyVersionID? = nil,
    principal: String? = nil
  ) async throws -> KeyVersion {
    let provider = try await receiver(of: key, purpose, reason: "imported", principal: principal)
    let newest = try await keyVersions(of: key, principal: principal).last
    let version = try await provider.importKeyVersion(
      NewKeyVersion(key: key, purpose: purpose, id: id ?? .make(after: newest?.id)), material: material)
    directory.invalidate()
    return version
  }

  /// A key has one purpose, whoever made its versions.
  private func receiver(
    of key: KeyName, _ purpose: KeyPurpose, reason: String, principal: String?
  ) async throws -> AccessLoggedProvider {
    if let version = try await keyVersions(of: key, principal: principal).first(where: { $0.purpose != purpose }) {
      throw KMSError(
        .keyPurposeForbids, "key '\(key)' is for \(version.purpose.rawValue), not for \(purpose.rawValue)",
        advice: "Give the new version a key of its own.", provider: version.provider, key: key.description)
    }
    return try providers.provider(
      providers.primaryName, access: Access(principal: principal), key: key, reason: reason)
  }
}

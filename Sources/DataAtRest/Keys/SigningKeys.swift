internal import AccessLog
public import KMSCore

/// Keys that sign the access log.
extension DataAtRestManager {
  /// The newest signing key of a name, made in the provider when `creating` and there is none.
  ///
  /// - Throws: ``KMSError/Code/notSupported`` when the provider holds no keys that sign.
  public func signingKey(
    named name: KeyName, in provider: String, creating: Bool = false
  ) async throws -> SigningKey? {
    let provider = try providers.provider(provider, access: Access(), key: name)
    if let key = try await provider.signingKey(named: name) { return key }
    return creating ? try await provider.createSigningKey(named: name) : nil
  }
}

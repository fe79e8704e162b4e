/// A provider that rewraps without giving the key out (PKCS#11: C_UnwrapKey into a session key, C_WrapKey).
///
/// For other providers the suite unwraps and wraps.
public protocol KeyRewrapping: KMSProvider {
  /// Opens each key under `old` and wraps it under `new`, both held by this provider.
  ///
  /// - Parameters:
  ///   - keys: as wrapped under `old`. Some dozens a call are quicker than one.
  ///   - old: a version whose state unwraps.
  ///   - new: an active version, for wrapping or for recovery. The provider unwraps each result again and compares
  ///     its thumbprint before it returns; under a key for recovery it cannot, and compares what it wraps.
  /// - Returns: for each key what came of it: ``KMSError/Code/doesNotOpen`` when the thumbprint differs, besides what
  ///   unwrap throws for one key.
  /// - Throws: what concerns all keys. ``KMSError/Code/notSupported`` when the token cannot do it inside: the caller
  ///   then unwraps and wraps.
  func rewrap(
    _ keys: [RewrapRequest], from old: KeyVersionID, to new: KeyVersionID
  ) async throws -> [Result<WrappedKey, KMSError>]
}

/// One key that is to be rewrapped.
public struct RewrapRequest: Sendable, Hashable {
  /// As it is wrapped now.
  public let wrapped: WrappedKey
  /// SHA-256 thumbprint (RFC 9679) that the key must have; 32 bytes.
  public let thumbprint: [UInt8]
  /// As for ``KMSProvider/wrap(_:under:aad:)``.
  public let aad: [UInt8]

  /// See the properties.
  public init(_ wrapped: WrappedKey, thumbprint: [UInt8], aad: [UInt8]) {
    self.wrapped = wrapped
    self.thumbprint = thumbprint
    self.aad = aad
  }
}

extension KeyRewrapping {
  /// The same for one key.
  public func rewrap(
    _ wrapped: WrappedKey, from old: KeyVersionID, to new: KeyVersionID, thumbprint: [UInt8], aad: [UInt8]
  ) async throws -> WrappedKey {
    let results = try await rewrap([RewrapRequest(wrapped, thumbprint: thumbprint, aad: aad)], from: old, to: new)
    guard let result = results.first, results.count == 1 else {
      throw KMSError(.providerFailed, "the provider gave \(results.count) keys back for one", operation: "rewrap")
    }
    return try result.get()
  }
}

/// A provider that rewraps without giving the key out (PKCS#11: C_UnwrapKey into a session key, C_WrapKey).
///
/// For other providers the suite unwraps and wraps.
public protocol KeyRewrapping: KMSProvider {
  /// Opens `wrapped` under `old` and wraps the same key under `new`, both held by this provider.
  ///
  /// - Parameters:
  ///   - wrapped: the key as wrapped under `old`.
  ///   - old: a version whose state unwraps.
  ///   - new: an active version, for wrapping or recovery.
  ///   - thumbprint: SHA-256 thumbprint (RFC 9679) that the key must have; 32 bytes. The provider unwraps
  ///     its own result again and compares before it returns; for a recovery key, which cannot, it compares before.
  ///   - aad: as for ``KMSProvider/wrap(_:under:aad:)``.
  /// - Throws: ``KMSError/Code/doesNotOpen`` when the thumbprint differs, besides what wrap and unwrap throw.
  ///   ``KMSError/Code/notSupported`` when the token cannot do it inside: the caller then unwraps and wraps.
  func rewrap(
    _ wrapped: WrappedKey, from old: KeyVersionID, to new: KeyVersionID, thumbprint: [UInt8], aad: [UInt8]
  ) async throws -> WrappedKey
}

/// A provider into which existing KEK bytes can be brought.
public protocol KeyImporting: KMSProvider {
  /// Stores 32 bytes as a KEK version under the request's id. For ``KeyPurpose/recovery`` it wraps, and unwraps in no
  /// state; a token is told so by its flags.
  ///
  /// - Throws: ``KMSError/Code/duplicateKeyVersion``, ``KMSError/Code/invalidInput`` when not 32 bytes or all zero,
  ///   ``KMSError/Code/notSupported`` when the token refuses imports.
  func importKeyVersion(_ request: NewKeyVersion, material: borrowing SecretBytes) async throws -> KeyVersion
}

/// A provider that encrypts small data itself, under a version whose purpose is ``KeyPurpose/encrypt``.
public protocol DirectEncrypting: KMSProvider {
  /// AES-256-GCM with a 12-byte IV and a 16-byte tag (NIST SP 800-38D).
  ///
  /// - Parameters:
  ///   - plaintext: 64 KiB at most (``directEncryptionLimit``).
  ///   - id: the version to encrypt under.
  ///   - aad: not empty (some tokens crash on an empty AAD).
  func encrypt(_ plaintext: Span<UInt8>, under id: KeyVersionID, aad: [UInt8]) async throws -> DirectCiphertext

  /// Opens what ``encrypt(_:under:aad:)`` gave.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen`` when key, IV, tag or AAD do not match.
  func decrypt(_ ciphertext: DirectCiphertext, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes
}

/// Largest plaintext of a direct encryption, in bytes.
public let directEncryptionLimit = 65_536

/// Result of a direct encryption.
public struct DirectCiphertext: Sendable, Hashable {
  /// 12 bytes.
  public let iv: [UInt8]
  /// Ciphertext followed by the 16-byte tag.
  public let bytes: [UInt8]

  /// `iv` has 12 bytes; `bytes` end with the tag.
  public init(iv: [UInt8], bytes: [UInt8]) {
    self.iv = iv
    self.bytes = bytes
  }
}

internal import COpenSSL

/// Algorithms, fetched once: a fetch by name takes longer than a small message.
@safe
enum Ciphers {
  // EVP algorithm objects never change once fetched and live as long as the process.
  nonisolated(unsafe) static let gcm = unsafe EVP_CIPHER_fetch(nil, "AES-256-GCM", nil)
  nonisolated(unsafe) static let sha256 = unsafe EVP_MD_fetch(nil, "SHA256", nil)
  nonisolated(unsafe) static let hkdf = unsafe EVP_KDF_fetch(nil, "HKDF", nil)
  nonisolated(unsafe) private static let wrap128 = unsafe EVP_CIPHER_fetch(nil, "AES-128-WRAP", nil)
  nonisolated(unsafe) private static let wrap192 = unsafe EVP_CIPHER_fetch(nil, "AES-192-WRAP", nil)
  nonisolated(unsafe) private static let wrap256 = unsafe EVP_CIPHER_fetch(nil, "AES-256-WRAP", nil)

  /// AES Key Wrap for a KEK of so many bytes.
  @unsafe
  static func wrap(keySize: Int) -> OpaquePointer? {
    switch keySize {
    case 16: unsafe wrap128
    case 24: unsafe wrap192
    case 32: unsafe wrap256
    default: nil
    }
  }
}

internal import COpenSSL

/// Algorithms, fetched once: a fetch by name takes longer than a small message.
@safe
enum Ciphers {
  // EVP algorithm objects never change once fetched and live as long as the process.
  nonisolated(unsafe) static let gcm = unsafe EVP_CIPHER_fetch(nil, "AES-256-GCM", nil)  // never changed or freed
  nonisolated(unsafe) static let sha256 = unsafe EVP_MD_fetch(nil, "SHA256", nil)  // never changed or freed
  nonisolated(unsafe) static let hkdf = unsafe EVP_KDF_fetch(nil, "HKDF", nil)  // never changed or freed
  nonisolated(unsafe) private static let wrap128 =  // never changed or freed
    unsafe EVP_CIPHER_fetch(nil, "AES-128-WRAP", nil)  // never changed or freed
  nonisolated(unsafe) private static let wrap192 =  // never changed or freed
    unsafe EVP_CIPHER_fetch(nil, "AES-192-WRAP", nil)  // never changed or freed
  nonisolated(unsafe) private static let wrap256 =  // never changed or freed
    unsafe EVP_CIPHER_fetch(nil, "AES-256-WRAP", nil)  // never changed or freed

  /// AES Key Wrap for a KEK of so many bytes.
  @unsafe  // a pointer, valid for ever
  static func wrap(keySize: Int) -> OpaquePointer? {
    switch keySize {
    case 16: unsafe wrap128  // fetched once
    case 24: unsafe wrap192  // fetched once
    case 32: unsafe wrap256  // fetched once
    default: nil
    }
  }
}

internal import CryptoPrimitives
package import KMSCore

/// What software providers do with a KEK.
package enum SoftwareKeys {
  package static func wrap(_ key: borrowing SecretBytes, kek: borrowing SecretBytes) throws -> WrappedKey {
    WrappedKey(algorithm: .a256KW, bytes: try key.withBytes { try AESKeyWrap.wrap($0, kek: kek) })
  }

  package static func unwrap(_ wrapped: WrappedKey, kek: borrowing SecretBytes) throws -> SecretBytes {
    try InputRules.checkKeyWrap(wrapped)
    return try AESKeyWrap.unwrap(wrapped.bytes.span, kek: kek)
  }

  package static func encrypt(
    _ plaintext: Span<UInt8>, aad: [UInt8], kek: borrowing SecretBytes
  ) throws -> DirectCiphertext {
    try InputRules.checkDirectEncryption(count: plaintext.count, aad: aad)
    let iv = Randomness.bytes(AESGCM.ivSize)
    return DirectCiphertext(iv: iv, bytes: try AESGCM(key: kek).seal(plaintext, iv: iv.span, aad: aad.span))
  }

  package static func decrypt(
    _ ciphertext: DirectCiphertext, aad: [UInt8], kek: borrowing SecretBytes
  ) throws -> SecretBytes {
    guard ciphertext.iv.count == AESGCM.ivSize else {
      throw KMSError(.doesNotOpen, "an IV has 12 bytes, this one \(ciphertext.iv.count)", advice: "Take a good copy.")
    }
    return try AESGCM(key: kek).open(ciphertext.bytes.span, iv: ciphertext.iv.span, aad: aad.span)
  }
}

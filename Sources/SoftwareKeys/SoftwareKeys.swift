internal import CryptoPrimitives
package import KMSCore

/// What software providers do with a KEK.
package enum SoftwareKeys {
  package static func wrap(_ key: borrowing SecretBytes, kek: borrowing SecretBytes) throws -> WrappedKey {
    WrappedKey(algorithm: .a256KW, bytes: try key.withBytes { try AESKeyWrap.wrap($0, kek: kek) })
  }

  package static func unwrap(_ wrapped: WrappedKey, kek: borrowing SecretBytes) throws -> SecretBytes {
    guard wrapped.algorithm == .a256KW else {
      throw KMSError(
        .notSupported, "a key wrapped by \(wrapped.algorithm) cannot be opened here",
        advice: "Configure the provider that wrapped it.")
    }
    guard wrapped.bytes.count == 40 else {
      throw KMSError(
        .doesNotOpen, "a wrapped key has 40 bytes, this one \(wrapped.bytes.count)", advice: "Take a good copy.")
    }
    return try AESKeyWrap.unwrap(wrapped.bytes.span, kek: kek)
  }

  package static func encrypt(
    _ plaintext: Span<UInt8>, aad: [UInt8], kek: borrowing SecretBytes
  ) throws -> DirectCiphertext {
    try checkDirect(count: plaintext.count, aad: aad)
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

  private static func checkDirect(count: Int, aad: [UInt8]) throws {
    guard count <= directEncryptionLimit else {
      throw KMSError(
        .limitExceeded, "direct encryption takes \(directEncryptionLimit) bytes at most, this has \(count)",
        advice: "Use an envelope.")
    }
    guard !aad.isEmpty else {
      throw KMSError(.invalidInput, "the additional data is empty", advice: "Give the message's Enc_structure.")
    }
  }
}

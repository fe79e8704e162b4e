internal import COpenSSL
package import KMSCore

/// AES Key Wrap (RFC 3394; NIST SP 800-38F, KW) in software, for providers whose KEKs are in the process.
package enum AESKeyWrap {
  /// - Parameters:
  ///   - key: 16 bytes or more, a multiple of 8.
  ///   - kek: 16, 24 or 32 bytes.
  /// - Returns: 8 bytes more than `key`.
  package static func wrap(_ key: Span<UInt8>, kek: borrowing SecretBytes) throws -> [UInt8] {
    guard key.count >= 16, key.count % 8 == 0 else {
      throw KMSError(
        .invalidInput, "a key of \(key.count) bytes cannot be wrapped",
        advice: "AES Key Wrap takes 16 bytes or more, a multiple of 8.")
    }
    return try [UInt8](capacity: key.count + 8) { output in
      guard try run(key, kek: kek, wrapping: true, into: &output) else {
        throw OpenSSLFailure.error("EVP_CipherUpdate (AES Key Wrap)")
      }
    }
  }

  /// - Throws: ``KMSError/Code/doesNotOpen`` when the integrity check fails or the length cannot be right.
  package static func unwrap(_ wrapped: Span<UInt8>, kek: borrowing SecretBytes) throws -> SecretBytes {
    guard wrapped.count >= 24, wrapped.count % 8 == 0 else { throw doesNotOpen() }
    return try SecretBytes(capacity: wrapped.count) { output throws(any Error) in
      guard try run(wrapped, kek: kek, wrapping: false, into: &output) else {
        OpenSSLFailure.clear()
        throw doesNotOpen()
      }
    }
  }

  private static func run(
    _ input: Span<UInt8>, kek: borrowing SecretBytes, wrapping: Bool, into output: inout OutputSpan<UInt8>
  ) throws -> Bool {
    guard let cipher = unsafe Ciphers.wrap(keySize: kek.count) else {  // valid for ever
      throw KMSError(.invalidInput, "a KEK has 16, 24 or 32 bytes, this one \(kek.count)")
    }
    guard let context = unsafe EVP_CIPHER_CTX_new() else {  // freed below
      throw OpenSSLFailure.error("EVP_CIPHER_CTX_new")
    }
    defer { unsafe EVP_CIPHER_CTX_free(context) }  // made above
    unsafe EVP_CIPHER_CTX_set_flags(context, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW_)  // made above
    let ready = kek.withBytes { bytes in
      // for the call only
      unsafe bytes.withUnsafeBufferPointer {  // for the call
        unsafe EVP_CipherInit_ex2(context, cipher, $0.baseAddress, nil, wrapping ? 1 : 0, nil)  // the KEK is copied
      }
    }
    guard ready == 1 else { throw OpenSSLFailure.error("EVP_CipherInit_ex2") }
    var length: CInt = 0
    let done = unsafe output.withUnsafeMutableBufferPointer { buffer, count in  // callers gave it the room
      let result = unsafe input.withUnsafeBufferPointer {  // for the call
        unsafe EVP_CipherUpdate(  // the buffer has 8 bytes more
          context, buffer.baseAddress, &length, $0.baseAddress, CInt($0.count))
      }
      count = result == 1 ? Int(length) : 0
      if result != 1 { unsafe OPENSSL_cleanse(buffer.baseAddress, buffer.count) }  // the whole buffer
      return result
    }
    return done == 1 && length > 0
  }

  private static func doesNotOpen() -> KMSError {
    KMSError(
      .doesNotOpen, "the wrapped key does not open: it was wrapped under another KEK, or changed",
      advice: "Take a good copy of the data.")
  }
}

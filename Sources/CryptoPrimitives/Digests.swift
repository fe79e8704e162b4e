internal import COpenSSL
package import KMSCore

/// SHA-256 (FIPS 180-4).
package enum SHA256 {
  /// Digest of `prefix` and `bytes`, one after the other; 32 bytes.
  package static func digest(prefix: [UInt8] = [], _ bytes: Span<UInt8>) -> [UInt8] {
    guard let context = unsafe EVP_MD_CTX_new() else { fatalError("out of memory") }  // freed below
    defer { unsafe EVP_MD_CTX_free(context) }  // made above
    // All buffers outlive their calls; SHA-256 cannot fail once it is there.
    let done =
      unsafe (EVP_DigestInit_ex2(context, Ciphers.sha256, nil) == 1  // made above
      && EVP_DigestUpdate(context, prefix, prefix.count) == 1
      && bytes.withUnsafeBufferPointer { unsafe EVP_DigestUpdate(context, $0.baseAddress, $0.count) } == 1)  // for it
    precondition(done, "libcrypto has no SHA-256")
    return [UInt8](capacity: 32) { output in
      unsafe output.withUnsafeMutableBufferPointer { buffer, count in  // for the call
        precondition(unsafe EVP_DigestFinal_ex(context, buffer.baseAddress, nil) == 1, "libcrypto fails")  // 32 bytes
        count = 32
      }
    }
  }
}

/// HKDF (RFC 5869) with SHA-256.
package enum HKDF {
  package static func sha256(
    _ ikm: borrowing SecretBytes, salt: [UInt8], info: [UInt8], count: Int
  ) throws -> SecretBytes {
    guard let context = unsafe EVP_KDF_CTX_new(Ciphers.hkdf) else {  // freed below
      throw OpenSSLFailure.error("EVP_KDF_CTX_new")
    }
    defer { unsafe EVP_KDF_CTX_free(context) }  // made above
    return try SecretBytes(capacity: count) { output throws(any Error) in
      let done = ikm.withBytes { key in
        unsafe key.withUnsafeBufferPointer { key in  // all for the call only
          unsafe output.withUnsafeMutableBufferPointer { buffer, written in  // for the call
            written = count
            return unsafe strongroom_hkdf_sha256(  // writes `count` bytes
              context, key.baseAddress, key.count, salt, salt.count, info, info.count, buffer.baseAddress, count)
          }
        }
      }
      guard done == 1 else { throw OpenSSLFailure.error("EVP_KDF_derive") }
    }
  }
}

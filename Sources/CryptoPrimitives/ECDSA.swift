internal import COpenSSL
package import KMSCore

/// ECDSA on P-256 with SHA-256 (FIPS 186-5). Public keys are SubjectPublicKeyInfo, signatures ECDSA-Sig-Value, in DER.
package enum ECDSA {
  /// The SubjectPublicKeyInfo of an uncompressed point on P-256 (SEC 1: 0x04, X, Y); nil when it is none.
  package static func publicKey(point: [UInt8]) -> [UInt8]? {
    guard point.count == 65, point[0] == 4 else { return nil }
    return ECDSAPublicKey(der: prefix + point)?.der
  }

  // SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING of 66 bytes } (RFC 5480)
  private static let prefix: [UInt8] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE,
    0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
  ]

  /// ECDSA-Sig-Value of r and s, 32 bytes each, as tokens give them.
  package static func signature(rs: [UInt8]) -> [UInt8]? {
    guard rs.count == 64 else { return nil }
    func integer(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
      var value = Array(bytes.drop { $0 == 0 })
      if value.isEmpty || value[0] >= 0x80 { value.insert(0, at: 0) }
      return [0x02, UInt8(value.count)] + value
    }
    let both = integer(rs[..<32]) + integer(rs[32...])
    return [0x30, UInt8(both.count)] + both
  }
}

/// A public key that was read once: reading it takes OpenSSL longer than a signature is verified in.
@safe
package final class ECDSAPublicKey: @unchecked Sendable {  // EVP_PKEY counts references by atomics and is not changed
  /// SubjectPublicKeyInfo.
  package let der: [UInt8]
  private let pkey: OpaquePointer

  /// Nil for anything but a key on P-256.
  package init?(der: [UInt8]) {
    guard let pkey = unsafe strongroom_p256_public_key(der, der.count) else {  // pointers for the call only
      OpenSSLFailure.clear()
      return nil
    }
    unsafe self.pkey = pkey  // ours now
    self.der = der
  }

  deinit { unsafe EVP_PKEY_free(pkey) }  // ours, freed once

  /// Whether `signature` is the key's for `message`.
  package func verifies(_ signature: [UInt8], of message: [UInt8]) -> Bool {
    let result = unsafe strongroom_ecdsa_verify(pkey, message, message.count, signature, signature.count)  // live
    OpenSSLFailure.clear()
    return result == 1
  }
}

/// A private key on P-256 in this process, for providers without hardware.
@safe
package final class ECDSAKey: @unchecked Sendable {  // EVP_PKEY counts references by atomics and is not changed
  private let pkey: OpaquePointer

  /// A new one.
  package static func make() throws -> ECDSAKey {
    guard let pkey = unsafe strongroom_p256_make() else { throw OpenSSLFailure.error("EVP_EC_gen") }  // ours now
    return unsafe ECDSAKey(takingOwnershipOf: pkey)  // made for this alone
  }

  /// From its PKCS#8 form (RFC 5958) in DER.
  package convenience init(pkcs8: borrowing SecretBytes) throws {
    let pkey = unsafe pkcs8.withBytes { bytes in  // pointers for the call only
      unsafe bytes.withUnsafeBufferPointer {  // for the call only
        unsafe strongroom_p256_private_key($0.baseAddress, $0.count)  // pointers for the call only
      }
    }
    guard let pkey = unsafe pkey else { throw OpenSSLFailure.error("d2i_AutoPrivateKey") }  // only compared with nil
    unsafe self.init(takingOwnershipOf: pkey)  // made for this alone
  }

  @unsafe  // its pointers must be alive
  private init(takingOwnershipOf pkey: OpaquePointer) { unsafe self.pkey = pkey }  // made for this alone

  deinit { unsafe EVP_PKEY_free(pkey) }  // wipes it

  /// SubjectPublicKeyInfo in DER.
  package var publicKey: [UInt8] {
    var der: UnsafeMutablePointer<UInt8>?
    let size = unsafe i2d_PUBKEY(pkey, &der)  // pointers for the call only
    defer { unsafe OPENSSL_free_(der) }  // ours, freed once
    return unsafe Array(UnsafeBufferPointer(start: der, count: max(0, Int(size))))  // as long as the call before said
  }

  /// PKCS#8 in DER.
  package func pkcs8() throws -> SecretBytes {
    try SecretBytes(capacity: 256) { output throws(any Error) in
      let size = unsafe output.withUnsafeMutableBufferPointer { buffer, count in  // for the call only
        let size = unsafe strongroom_p256_pkcs8(pkey, buffer.baseAddress, buffer.count)  // pointers for the call only
        count = max(0, Int(size))
        return size
      }
      guard size > 0 else { throw OpenSSLFailure.error("i2d_PrivateKey") }
    }
  }

  /// ECDSA-Sig-Value in DER.
  package func sign(_ message: [UInt8]) throws -> [UInt8] {
    var signature = [UInt8](repeating: 0, count: 80)
    var count = signature.count
    guard unsafe strongroom_ecdsa_sign(pkey, message, message.count, &signature, &count) == 1 else {  // live pointers
      throw OpenSSLFailure.error("EVP_DigestSign")
    }
    return Array(signature.prefix(count))
  }
}

internal import COpenSSL
package import KMSCore

/// An RSA key for RSAES-OAEP (RFC 8017; with SHA-256, COSE algorithm -41, RFC 8230).
@safe
package final class RSAKey: @unchecked Sendable {  // EVP_PKEY counts references by atomics and is not changed
  private let pkey: OpaquePointer
  /// Length of the modulus.
  package let bits: Int
  /// SHA-256 of the SubjectPublicKeyInfo (RFC 5280) in DER: the same for both halves.
  package let fingerprint: [UInt8]

  package static let sizes = 2048...8192

  /// The public key in a PEM file's text ("BEGIN PUBLIC KEY").
  ///
  /// - Throws: ``KMSError/Code/configurationInvalid``, also for a private key.
  package convenience init(publicPEM pem: [UInt8], name: String) throws {
    guard !String(decoding: pem, as: UTF8.self).contains("PRIVATE KEY-----") else {
      throw KMSError(
        .configurationInvalid, "\(name) holds a private key, which does not belong on this machine",
        advice: "Take it away, and put its public half there: openssl pkey -in PRIVATE.pem -pubout -out PUBLIC.pem")
    }
    let pkey = unsafe pem.withUnsafeBufferPointer {  // for the call only
      unsafe strongroom_public_key($0.baseAddress, CInt($0.count))  // pointers for the call only
    }
    guard let pkey = unsafe pkey else {  // only compared with nil
      throw Self.refused(name, "it holds no public key in PEM", "PEM_read_bio_PUBKEY")
    }
    try unsafe self.init(takingOwnershipOf: pkey, name: name)  // made for this alone
  }

  /// The private key in a PEM file's text.
  ///
  /// - Throws: ``KMSError/Code/accessDenied`` when the passphrase is missing or wrong, or it is no private key.
  package convenience init(privatePEM pem: borrowing SecretBytes, passphrase: SecretSource?, name: String) throws {
    let pkey = try unsafe pem.withBytes { pem throws(any Error) -> OpaquePointer? in  // pointers for the call only
      try unsafe pem.withUnsafeBufferPointer { pem throws(any Error) in  // for the call only
        guard let passphrase = try passphrase?.read() else {
          return unsafe strongroom_private_key(pem.baseAddress, CInt(pem.count), nil, 0)  // pointers for the call only
        }
        return unsafe passphrase.withBytes { secret in  // pointers for the call only
          unsafe secret.withUnsafeBufferPointer {  // for the call only
            unsafe strongroom_private_key(pem.baseAddress, CInt(pem.count), $0.baseAddress, CInt($0.count))  // live
          }
        }
      }
    }
    guard let pkey = unsafe pkey else {  // only compared with nil
      throw OpenSSLFailure.error(
        "PEM_read_bio_PrivateKey", code: .accessDenied,
        message: "\(name) does not give a private key: it holds none, or its passphrase is missing or wrong",
        advice: "Name a PEM file with a private key, and its passphrase's source if it has one.")
    }
    try unsafe self.init(takingOwnershipOf: pkey, name: name)  // made for this alone
  }

  @unsafe  // its pointers must be alive
  private init(takingOwnershipOf pkey: OpaquePointer, name: String) throws {
    unsafe self.pkey = pkey  // made for this alone
    bits = Int(unsafe EVP_PKEY_get_bits(pkey))  // our key, alive as long as this
    var der: UnsafeMutablePointer<UInt8>?
    let size = unsafe i2d_PUBKEY(pkey, &der)  // pointers for the call only
    fingerprint = unsafe SHA256.digest(UnsafeBufferPointer(start: der, count: max(0, Int(size))).span)  // live pointers
    unsafe OPENSSL_free_(der)  // ours, freed once
    guard unsafe EVP_PKEY_is_a(pkey, "RSA") == 1, size > 0 else {  // our key, alive as long as this
      throw Self.refused(name, "it is no RSA key", "EVP_PKEY_is_a")
    }
    guard Self.sizes.contains(bits) else {
      throw Self.refused(name, "it has \(bits) bits", "EVP_PKEY_get_bits")
    }
    guard unsafe strongroom_public_key_is_sound(pkey) == 1 else {  // our key, alive as long as this
      throw Self.refused(name, "its numbers make no sound key", "EVP_PKEY_public_check")
    }
  }

  deinit { unsafe EVP_PKEY_free(pkey) }  // wipes a private key

  /// The public key of these two numbers, big endian, as a token gives them.
  ///
  /// - Throws: ``KMSError/Code/configurationInvalid``, also for a key whose numbers are not sound.
  package convenience init(modulus: [UInt8], exponent: [UInt8], name: String) throws {
    func der(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
      let length: [UInt8] =
        switch content.count {
        case ..<128: [UInt8(content.count)]
        case ..<256: [0x81, UInt8(content.count)]
        default: [0x82, UInt8(truncatingIfNeeded: content.count >> 8), UInt8(truncatingIfNeeded: content.count)]
        }
      return [tag] + length + content
    }
    func integer(_ bytes: [UInt8]) -> [UInt8] {
      let digits = Array(bytes.drop { $0 == 0 })
      return der(0x02, (digits.first ?? 0) < 0x80 && !digits.isEmpty ? digits : [0] + digits)
    }
    guard modulus.count <= Self.sizes.upperBound / 8 + 1, exponent.count <= 8 else {
      throw Self.refused(name, "its numbers are too long", "d2i_PUBKEY")
    }
    // SubjectPublicKeyInfo (RFC 5280) with the algorithm rsaEncryption
    let algorithm: [UInt8] = [
      0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00,
    ]
    let key = der(0x30, integer(modulus) + integer(exponent))
    let info = der(0x30, algorithm + der(0x03, [0] + key))
    let pkey = unsafe info.withUnsafeBufferPointer { bytes -> OpaquePointer? in  // for the call only
      var next = bytes.baseAddress
      return unsafe d2i_PUBKEY(nil, &next, bytes.count)  // pointers for the call only
    }
    guard let pkey = unsafe pkey else { throw Self.refused(name, "its numbers make no key", "d2i_PUBKEY") }  // nil?
    try unsafe self.init(takingOwnershipOf: pkey, name: name)  // made for this alone
  }

  /// As long as the modulus; another one each time.
  ///
  /// - Parameter isSHA1: for a token that knows no other hash (COSE algorithm -40).
  package func encrypt(_ plaintext: Span<UInt8>, isSHA1: Bool = false) throws -> [UInt8] {
    let context = unsafe strongroom_oaep(pkey, 1, isSHA1 ? 1 : 0)  // our key, alive as long as this
    guard let context = unsafe context else { throw OpenSSLFailure.error("EVP_PKEY_encrypt_init") }  // nil?
    defer { unsafe EVP_PKEY_CTX_free(context) }  // ours, freed once
    var output = [UInt8](repeating: 0, count: (bits + 7) / 8)
    var count = output.count
    let done = unsafe plaintext.withUnsafeBufferPointer {  // for the call only
      unsafe EVP_PKEY_encrypt(context, &output, &count, $0.baseAddress, $0.count)  // pointers for the call only
    }
    guard done == 1, count == output.count else { throw OpenSSLFailure.error("EVP_PKEY_encrypt") }
    return output
  }

  /// - Throws: ``KMSError/Code/doesNotOpen``, whatever the reason.
  package func decrypt(_ ciphertext: [UInt8]) throws -> SecretBytes {
    let context = unsafe strongroom_oaep(pkey, 0, 0)  // our key, alive as long as this
    guard let context = unsafe context else { throw OpenSSLFailure.error("EVP_PKEY_decrypt_init") }  // nil?
    defer { unsafe EVP_PKEY_CTX_free(context) }  // ours, freed once
    return try SecretBytes(capacity: (bits + 7) / 8) { output throws(any Error) in
      let done = unsafe output.withUnsafeMutableBufferPointer { buffer, count in  // as long as the modulus
        count = buffer.count
        return unsafe EVP_PKEY_decrypt(context, buffer.baseAddress, &count, ciphertext, ciphertext.count)  // live
      }
      guard done == 1 else {
        OpenSSLFailure.clear()
        throw KMSError(
          .doesNotOpen, "the wrapped key does not open with this private key",
          advice: "Take a good copy, or the right key.")
      }
    }
  }

  private static func refused(_ name: String, _ problem: String, _ call: String) -> KMSError {
    OpenSSLFailure.error(
      call, code: .configurationInvalid, message: "the key in \(name) cannot be used: \(problem)",
      advice: "It must be an RSA key of \(sizes.lowerBound) to \(sizes.upperBound) bits, in PEM.")
  }
}

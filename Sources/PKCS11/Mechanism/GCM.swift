internal import CP11Kit
internal import Glibc
package import KMSCore

/// Whose IV AES-GCM uses, and where it comes out. A lost IV is lost data, so it is found out by trying.
package enum GCMIVBehaviour: String, Sendable, CaseIterable {
  /// The caller's IV is used.
  case given
  /// Twelve zero bytes are overwritten with the token's IV.
  case overwritten
  /// The token's IV comes before the ciphertext.
  case prepended
  /// The token's IV comes after the tag.
  case appended

  /// Bytes of output besides ciphertext and tag.
  var extra: Int {
    switch self {
    case .given, .overwritten: 0
    case .prepended, .appended: 12
    }
  }
}

/// AES-GCM (CKM_AES_GCM) by C_Encrypt and C_Decrypt: 12-byte IV, 16-byte tag, AAD never empty.
extension Session {
  private static let gcm = "CKM_AES_GCM"

  package func random(_ count: Int) throws(CallFailure) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    try unsafe check(functions.C_GenerateRandom(handle, &bytes, UInt(count)), "C_GenerateRandom")  // for the call only
    return bytes
  }

  // The token writes its own there.
  private static let noIV = [UInt8](repeating: 0, count: 12)

  /// - Returns: the IV, and ciphertext and tag.
  package func encrypt(
    _ plaintext: Span<UInt8>, under key: UInt, aad: [UInt8], _ behaviour: GCMIVBehaviour
  ) throws(CallFailure) -> (iv: [UInt8], bytes: [UInt8]) {
    var iv =
      behaviour == .given ? ivs.withNext { iv in [UInt8](capacity: iv.count) { $0.append(copying: iv) } } : Self.noIV
    var output = try encrypt(plaintext, under: key, iv: &iv, aad: aad)
    guard output.count == plaintext.count + 16 + behaviour.extra else {
      throw CallFailure("C_Encrypt", problem: "the token treats the IV of AES-GCM in another way than it did")
    }
    switch behaviour {
    case .given, .overwritten: break
    case .prepended:
      iv = Array(output[..<12])
      output.removeFirst(12)
    case .appended:
      iv = Array(output[(plaintext.count + 16)...].prefix(12))
      output.removeLast(behaviour.extra)
    }
    guard iv != Self.noIV else { throw CallFailure("C_Encrypt", problem: "the token gave no IV for AES-GCM") }
    return (iv, output)
  }

  /// - Parameter iv: goes in, and comes out as the token leaves it.
  /// - Returns: whatever the token puts out.
  package func encrypt(
    _ plaintext: Span<UInt8>, under key: UInt, iv: inout [UInt8], aad: [UInt8]
  ) throws(CallFailure) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: plaintext.count + 64)
    var count = UInt(output.count)
    try sound { () throws(CallFailure) in
      try unsafe withMechanism(&iv, aad) { mechanism throws(CallFailure) in  // for the call only
        try unsafe check(functions.C_EncryptInit(handle, mechanism, key), "C_EncryptInit", Self.gcm)  // call only
        // Within, as a token may write the IV late. Cryptoki does not write to the input.
        let returned = unsafe plaintext.withUnsafeBufferPointer {  // for the call only
          unsafe functions.C_Encrypt(  // for the call only
            handle, UnsafeMutablePointer(mutating: $0.baseAddress), UInt($0.count), &output, &count)
        }
        try check(returned, "C_Encrypt", Self.gcm)
      }
    }
    output.removeLast(output.count - Int(min(count, UInt(output.count))))
    return output
  }

  package func decrypt(
    _ ciphertext: [UInt8], under key: UInt, iv: [UInt8], aad: [UInt8]
  ) throws(CallFailure) -> SecretBytes {
    var iv = iv
    return try sound { () throws(CallFailure) in
      try unsafe withMechanism(&iv, aad) { mechanism throws(CallFailure) in  // for the call only
        try unsafe check(functions.C_DecryptInit(handle, mechanism, key), "C_DecryptInit", Self.gcm)  // call only
      }
      return try decryptStarted(ciphertext, Self.gcm)
    }
  }

  /// C_Decrypt after C_DecryptInit.
  ///
  /// - Parameter expecting: bytes that there should be, for a token that leaves the length at the buffer's size.
  func decryptStarted(
    _ ciphertext: [UInt8], _ mechanism: String, expecting: Int? = nil
  ) throws(CallFailure) -> SecretBytes {
    try SecretBytes(capacity: ciphertext.count + 64) { output throws(CallFailure) in
      try unsafe output.withUnsafeMutableBufferPointer { buffer, written throws(CallFailure) in  // for the call
        var count = UInt(buffer.count)
        let returned = unsafe ciphertext.withUnsafeBufferPointer {  // for the call only
          unsafe functions.C_Decrypt(  // for the call only
            handle, UnsafeMutablePointer(mutating: $0.baseAddress), UInt($0.count), buffer.baseAddress, &count)
        }
        try check(returned, "C_Decrypt", mechanism)
        written = count < UInt(buffer.count) ? Int(count) : min(expecting ?? buffer.count, buffer.count)
      }
    }
  }

  @unsafe  // gives out pointers
  private func withMechanism(
    _ iv: inout [UInt8], _ aad: [UInt8], _ body: (UnsafeMutablePointer<CK_MECHANISM>) throws(CallFailure) -> Void
  ) throws(CallFailure) {
    try unsafe iv.withUnsafeMutableBufferPointer { iv throws(CallFailure) in  // all for the call only
      // Cryptoki does not write to the AAD.
      try unsafe aad.withUnsafeBufferPointer { aad throws(CallFailure) in  // for the call only
        var parameters = unsafe CK_GCM_PARAMS(  // points to what outlives the call
          pIv: iv.baseAddress, ulIvLen: UInt(iv.count), ulIvBits: UInt(iv.count * 8),
          pAAD: UnsafeMutablePointer(mutating: aad.baseAddress), ulAADLen: UInt(aad.count), ulTagBits: 128)
        try unsafe withUnsafeMutablePointer(to: &parameters) { parameters throws(CallFailure) in  // for the call only
          var mechanism = unsafe CK_MECHANISM(  // points to what outlives the call
            mechanism: CKM_AES_GCM, pParameter: UnsafeMutableRawPointer(parameters),
            ulParameterLen: UInt(MemoryLayout<CK_GCM_PARAMS>.size))
          try unsafe body(&mechanism)  // for the call only
        }
      }
    }
  }
}

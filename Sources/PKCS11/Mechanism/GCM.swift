internal import CP11Kit
package import KMSCore

/// AES-GCM (CKM_AES_GCM) by C_Encrypt and C_Decrypt: 12-byte IV, 16-byte tag, AAD never empty.
extension Session {
  package func random(_ count: Int) throws(CallFailure) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    try unsafe check(functions.C_GenerateRandom(handle, &bytes, UInt(count)), "C_GenerateRandom")
    return bytes
  }

  /// Ciphertext and tag.
  package func encrypt(
    _ plaintext: Span<UInt8>, under key: UInt, iv: [UInt8], aad: [UInt8]
  ) throws(CallFailure) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: plaintext.count + 64)
    var count = UInt(output.count)
    try sound { () throws(CallFailure) in
      try unsafe start(key, iv: iv, aad: aad) { mechanism throws(CallFailure) in
        try unsafe check(functions.C_EncryptInit(handle, mechanism, key), "C_EncryptInit")
      }
      // Cryptoki does not write to the input
      let returned = unsafe plaintext.withUnsafeBufferPointer {
        unsafe functions.C_Encrypt(
          handle, UnsafeMutablePointer(mutating: $0.baseAddress), UInt($0.count), &output, &count)
      }
      try check(returned, "C_Encrypt")
    }
    output.removeLast(output.count - Int(min(count, UInt(output.count))))
    return output
  }

  package func decrypt(
    _ ciphertext: [UInt8], under key: UInt, iv: [UInt8], aad: [UInt8]
  ) throws(CallFailure) -> SecretBytes {
    try sound { () throws(CallFailure) in
      try unsafe start(key, iv: iv, aad: aad) { mechanism throws(CallFailure) in
        try unsafe check(functions.C_DecryptInit(handle, mechanism, key), "C_DecryptInit")
      }
      return try SecretBytes(capacity: ciphertext.count + 64) { output throws(CallFailure) in
        try unsafe output.withUnsafeMutableBufferPointer { buffer, written throws(CallFailure) in  // for the call
          var count = UInt(buffer.count)
          let returned = unsafe ciphertext.withUnsafeBufferPointer {
            unsafe functions.C_Decrypt(
              handle, UnsafeMutablePointer(mutating: $0.baseAddress), UInt($0.count), buffer.baseAddress, &count)
          }
          try check(returned, "C_Decrypt")
          written = Int(min(count, UInt(buffer.count)))
        }
      }
    }
  }

  @unsafe
  private func start(
    _ key: UInt, iv: [UInt8], aad: [UInt8], _ body: (UnsafeMutablePointer<CK_MECHANISM>) throws(CallFailure) -> Void
  ) throws(CallFailure) {
    var (iv, aad) = (iv, aad)
    try unsafe iv.withUnsafeMutableBufferPointer { iv throws(CallFailure) in  // all for the call only
      try unsafe aad.withUnsafeMutableBufferPointer { aad throws(CallFailure) in
        var parameters = unsafe CK_GCM_PARAMS(
          pIv: iv.baseAddress, ulIvLen: UInt(iv.count), ulIvBits: UInt(iv.count * 8), pAAD: aad.baseAddress,
          ulAADLen: UInt(aad.count), ulTagBits: 128)
        try unsafe withUnsafeMutablePointer(to: &parameters) { parameters throws(CallFailure) in
          var mechanism = unsafe CK_MECHANISM(
            mechanism: CKM_AES_GCM, pParameter: UnsafeMutableRawPointer(parameters),
            ulParameterLen: UInt(MemoryLayout<CK_GCM_PARAMS>.size))
          try unsafe body(&mechanism)
        }
      }
    }
  }
}

internal import COpenSSL
package import KMSCore
internal import Synchronization

/// AES-256-GCM (NIST SP 800-38D) with a 96-bit IV and a 128-bit tag, under one key.
///
/// Contexts keep the expanded key: a message costs an IV, not a key schedule. Each is used by one caller at a
/// time; callers that come together get one each.
package final class AESGCM: Sendable {
  package static let ivSize = 12
  package static let tagSize = 16

  private let key: SecretBytes
  private let idle = Mutex<[CipherContext]>([])

  /// - Parameter key: 32 bytes.
  package init(key: borrowing SecretBytes) throws {
    guard key.count == 32 else {
      throw KMSError(.invalidInput, "an AES-256 key has 32 bytes, this one \(key.count)")
    }
    self.key = key.copy()
  }

  /// Appends ciphertext and tag to `output`, which must have room for them.
  package func seal(
    _ plaintext: Span<UInt8>, iv: Span<UInt8>, aad: Span<UInt8>, into output: inout OutputSpan<UInt8>
  ) throws {
    let context = try take()
    defer { give(context) }
    try context.seal(plaintext, iv: iv, aad: aad, into: &output)
  }

  /// Appends the plaintext to `output`; if the tag does not match, nothing, and what was written is wiped.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen``.
  package func open(
    _ sealed: Span<UInt8>, iv: Span<UInt8>, aad: Span<UInt8>, into output: inout OutputSpan<UInt8>
  ) throws {
    let context = try take()
    defer { give(context) }
    try context.open(sealed, iv: iv, aad: aad, into: &output)
  }

  /// Ciphertext and tag.
  package func seal(_ plaintext: Span<UInt8>, iv: Span<UInt8>, aad: Span<UInt8>) throws -> [UInt8] {
    try [UInt8](capacity: plaintext.count + Self.tagSize) { output throws(any Error) in
      try seal(plaintext, iv: iv, aad: aad, into: &output)
    }
  }

  /// The plaintext.
  package func open(_ sealed: Span<UInt8>, iv: Span<UInt8>, aad: Span<UInt8>) throws -> SecretBytes {
    try SecretBytes(capacity: max(0, sealed.count - Self.tagSize)) { output throws(any Error) in
      try open(sealed, iv: iv, aad: aad, into: &output)
    }
  }

  static func doesNotOpen() -> KMSError {
    KMSError(
      .doesNotOpen, "the data does not open: key or context differ, or it was changed",
      advice: "Give the same context as for encryption, or take a good copy.")
  }

  /// A context for one caller, who gives it back.
  package func take() throws -> CipherContext {
    try idle.withLock { $0.popLast() } ?? CipherContext(key: key)
  }

  package func give(_ context: CipherContext) { idle.withLock { $0.append(context) } }
}

/// One EVP_CIPHER_CTX with the key set. Used by one caller at a time.
@safe
package final class CipherContext: @unchecked Sendable {  // handed from caller to caller under a lock, never shared
  private let evp: OpaquePointer

  init(key: borrowing SecretBytes) throws {
    guard let evp = unsafe EVP_CIPHER_CTX_new() else {  // freed in deinit
      throw OpenSSLFailure.error("EVP_CIPHER_CTX_new")
    }
    let done = key.withBytes { bytes in
      // key and cipher outlive the call
      unsafe bytes.withUnsafeBufferPointer {  // for the call
        unsafe EVP_CipherInit_ex2(evp, Ciphers.gcm, $0.baseAddress, nil, 1, nil)  // the key is copied
      }
    }
    guard done == 1 else {
      unsafe EVP_CIPHER_CTX_free(evp)  // made in init
      throw OpenSSLFailure.error("EVP_CipherInit_ex2")
    }
    unsafe self.evp = evp  // owned from here on
  }

  deinit { unsafe EVP_CIPHER_CTX_free(evp) }  // wipes the key schedule

  /// Appends ciphertext and tag to `output`, which must have room for them.
  package func seal(
    _ plaintext: Span<UInt8>, iv: Span<UInt8>, aad: Span<UInt8>, into output: inout OutputSpan<UInt8>
  ) throws {
    try check(iv, room: output.freeCapacity, needed: plaintext.count + AESGCM.tagSize)
    try start(iv: iv, aad: aad, encrypting: true)
    try unsafe output.withUnsafeMutableBufferPointer { buffer, count in  // `check` made sure of the room
      let target = unsafe buffer.baseAddress! + count  // within the capacity
      try unsafe update(plaintext, into: target)  // target has room for the text
      try unsafe finishSealing(tag: target + plaintext.count)  // and for the tag
      count += plaintext.count + AESGCM.tagSize
    }
  }

  /// Appends the plaintext to `output`; if the tag does not match, nothing, and what was written is wiped.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen``.
  package func open(
    _ sealed: Span<UInt8>, iv: Span<UInt8>, aad: Span<UInt8>, into output: inout OutputSpan<UInt8>
  ) throws {
    guard sealed.count >= AESGCM.tagSize else { throw AESGCM.doesNotOpen() }
    let length = sealed.count - AESGCM.tagSize
    try check(iv, room: output.freeCapacity, needed: length)
    try start(iv: iv, aad: aad, encrypting: false)
    try unsafe output.withUnsafeMutableBufferPointer { buffer, count in  // as in `seal`
      guard let base = buffer.baseAddress else {
        var none: UInt8 = 0
        return try unsafe finishOpening(  // writes nothing after the text
          tag: sealed.extracting(length...), end: &none)
      }
      let target = unsafe base + count  // within the capacity
      do {
        try unsafe update(sealed.extracting(..<length), into: target)  // target has room for the text
        try unsafe finishOpening(  // writes nothing after the text
          tag: sealed.extracting(length...), end: target + length)
        count += length
      } catch {
        unsafe OPENSSL_cleanse(target, length)  // what was written
        throw error
      }
    }
  }

  private func check(_ iv: Span<UInt8>, room: Int, needed: Int) throws {
    guard iv.count == AESGCM.ivSize else {
      throw KMSError(.invalidInput, "an IV has \(AESGCM.ivSize) bytes, this one \(iv.count)")
    }
    precondition(room >= needed, "the output is too small")
  }

  private func start(iv: Span<UInt8>, aad: Span<UInt8>, encrypting: Bool) throws {
    let done = unsafe iv.withUnsafeBufferPointer {  // for the call only
      unsafe EVP_CipherInit_ex2(evp, nil, nil, $0.baseAddress, encrypting ? 1 : 0, nil)  // the IV is copied
    }
    guard done == 1 else { throw OpenSSLFailure.error("EVP_CipherInit_ex2") }
    guard !aad.isEmpty else { return }
    var length: CInt = 0
    let added = unsafe aad.withUnsafeBufferPointer {  // for the call only
      unsafe EVP_CipherUpdate(evp, nil, &length, $0.baseAddress, CInt($0.count))  // read within the call
    }
    guard added == 1 else { throw OpenSSLFailure.error("EVP_CipherUpdate") }
  }

  @unsafe  // the target must have room
  private func update(_ input: Span<UInt8>, into target: UnsafeMutablePointer<UInt8>) throws {
    guard !input.isEmpty else { return }
    var length: CInt = 0
    let done = unsafe input.withUnsafeBufferPointer {  // for the call
      unsafe EVP_CipherUpdate(evp, target, &length, $0.baseAddress, CInt($0.count))  // room: the caller
    }
    guard done == 1, length == input.count else { throw OpenSSLFailure.error("EVP_CipherUpdate") }
  }

  @unsafe  // the target must have room
  private func finishSealing(tag: UnsafeMutablePointer<UInt8>) throws {
    var length: CInt = 0
    guard unsafe EVP_CipherFinal_ex(evp, tag, &length) == 1,  // writes nothing in GCM
      unsafe EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_GET_TAG, CInt(AESGCM.tagSize), tag) == 1  // room: the caller
    else { throw OpenSSLFailure.error("EVP_CipherFinal_ex") }
  }

  @unsafe  // the target must have room
  private func finishOpening(tag: Span<UInt8>, end: UnsafeMutablePointer<UInt8>) throws {
    var length: CInt = 0
    let set = unsafe tag.withUnsafeBufferPointer {  // for the call
      unsafe EVP_CIPHER_CTX_ctrl(  // the tag is copied
        evp, EVP_CTRL_AEAD_SET_TAG, CInt(AESGCM.tagSize), UnsafeMutablePointer(mutating: $0.baseAddress))
    }
    guard set == 1 else { throw OpenSSLFailure.error("EVP_CIPHER_CTX_ctrl") }
    guard unsafe EVP_CipherFinal_ex(evp, end, &length) == 1 else {  // writes nothing in GCM
      OpenSSLFailure.clear()
      throw AESGCM.doesNotOpen()
    }
  }
}

internal import CP11Kit
package import KMSCore

/// AES Key Wrap (CKM_AES_KEY_WRAP, RFC 3394) by C_WrapKey and C_UnwrapKey.
extension Session {
  /// 40 bytes for a key of 32.
  package func wrap(_ key: borrowing SecretBytes, under kek: UInt) throws(CallFailure) -> [UInt8] {
    let object = try create(profile.made, value: key)
    return try withObject(object) { () throws(CallFailure) in try wrapObject(object, under: kek) }
  }

  /// The key of 32 bytes.
  package func unwrap(_ wrapped: [UInt8], under kek: UInt) throws(CallFailure) -> SecretBytes {
    let object = try unwrapObject(wrapped, under: kek, profile.readable)
    return try withObject(object) { () throws(CallFailure) in try value(of: object) }
  }

  /// What came of one key's rewrap.
  package typealias Rewrapped = (wrapped: [UInt8], thumbprint: [UInt8])

  /// Unwraps each key under `old` and wraps it under `new` inside the token, and gives the thumbprint of what came
  /// out, too.
  ///
  /// - Parameter unwraps: whether `new` can. If not, the thumbprint is that of what went in.
  /// - Returns: a result for each key; for fewer, but one at least, when the session cannot go on.
  package func rewrap(
    _ keys: [[UInt8]], from old: UInt, to new: UInt, unwraps: Bool
  ) throws(CallFailure) -> [Result<Rewrapped, CallFailure>] {
    var copies = keys.count < Self.fewKeys ? nil : copies(of: old, new)
    func forgetCopies() {
      for copy in [copies?.old, copies?.new] { if let copy { forget(copy) } }
      copies = nil
    }
    defer { forgetCopies() }
    var results: [Result<Rewrapped, CallFailure>] = []
    results.reserveCapacity(keys.count)
    for key in keys where isSound || results.isEmpty {
      do throws(CallFailure) {
        if let (source, target, since) = copies {
          let result = try rewrap(key, from: source, to: target, unwraps: unwraps)
          if Moment.now - since < Self.lifetime {
            results.append(.success(result))
            continue
          }
          forgetCopies()
        }
        results.append(.success(try rewrap(key, from: old, to: new, unwraps: unwraps)))
      } catch {
        guard !error.returned.endsSession, !error.returned.meansStaleHandle else { throw error }
        results.append(.failure(error))
      }
    }
    return results
  }

  private static let fewKeys = 8

  /// KEKs in session objects for the time of one call, and no longer than other copies are used (decision 33): a token
  /// that keeps its keys in files or flash looks there for every use of one. Nil where the token copies no keys.
  private func copies(of old: UInt, _ new: UInt) -> (old: UInt, new: UInt, since: Moment)? {
    let since = Moment.now
    guard let first = try? copyForSession(old) else { return nil }
    guard let second = try? copyForSession(new) else {
      forget(first)
      return nil
    }
    return (first, second, since)
  }

  private func rewrap(
    _ wrapped: [UInt8], from old: UInt, to new: UInt, unwraps: Bool
  ) throws(CallFailure) -> Rewrapped {
    let object = try unwrapObject(wrapped, under: old, profile.kept)
    guard unwraps else {
      return try withObject(object) { () throws(CallFailure) in
        (try wrapObject(object, under: new), try thumbprint(of: object))
      }
    }
    let result = try withObject(object) { () throws(CallFailure) in try wrapObject(object, under: new) }
    let back = try unwrapObject(result, under: new, profile.kept)
    let digest = try withObject(back) { () throws(CallFailure) in try thumbprint(of: back) }
    return (result, digest)
  }

  private func wrapObject(_ object: UInt, under kek: UInt) throws(CallFailure) -> [UInt8] {
    var mechanism = unsafe CK_MECHANISM(mechanism: CKM_AES_KEY_WRAP, pParameter: nil, ulParameterLen: 0)  // no pointer
    var wrapped = [UInt8](repeating: 0, count: 96)  // input + 64: size queries are wrong on some tokens
    var count = UInt(wrapped.count)
    let returned = unsafe functions.C_WrapKey(handle, &mechanism, kek, object, &wrapped, &count)  // for the call only
    try sound { () throws(CallFailure) in try check(returned, "C_WrapKey", "CKM_AES_KEY_WRAP") }
    wrapped.removeLast(wrapped.count - Int(min(count, UInt(wrapped.count))))
    return wrapped
  }

  private func unwrapObject(
    _ wrapped: [UInt8], under kek: UInt, _ template: Template
  ) throws(CallFailure) -> UInt {
    var mechanism = unsafe CK_MECHANISM(mechanism: CKM_AES_KEY_WRAP, pParameter: nil, ulParameterLen: 0)  // no pointer
    var object: UInt = 0
    // Cryptoki does not write to the wrapped key.
    let returned = unsafe wrapped.withUnsafeBufferPointer { bytes in  // for the call only
      unsafe functions.C_UnwrapKey(  // for the call only
        handle, &mechanism, kek, UnsafeMutablePointer(mutating: bytes.baseAddress), UInt(bytes.count),
        template.attributes.baseAddress, template.count, &object)
    }
    try check(returned, "C_UnwrapKey", "CKM_AES_KEY_WRAP")
    return object
  }

  private func value(of object: UInt) throws(CallFailure) -> SecretBytes {
    try SecretBytes(capacity: 32) { output throws(CallFailure) in
      try unsafe output.withUnsafeMutableBufferPointer { buffer, count throws(CallFailure) in  // 32 bytes, for the call
        var attribute = unsafe CK_ATTRIBUTE(  // points to what outlives the call
          type: CKA_VALUE, pValue: UnsafeMutableRawPointer(buffer.baseAddress), ulValueLen: UInt(buffer.count))
        try unsafe check(  // for the call only
          functions.C_GetAttributeValue(handle, object, &attribute, 1), "C_GetAttributeValue")
        count = Int(min(unsafe attribute.ulValueLen, UInt(buffer.count)))  // a plain number
      }
    }
  }

  /// SHA-256 of the COSE_Key {1: 4, -1: key} (RFC 9679), computed by the token from a key that it does not give out.
  private func thumbprint(of object: UInt) throws(CallFailure) -> [UInt8] {
    try sound { () throws(CallFailure) in
      var mechanism = unsafe CK_MECHANISM(mechanism: CKM_SHA256, pParameter: nil, ulParameterLen: 0)  // no parameter
      var prefix: [UInt8] = [0xA2, 0x01, 0x04, 0x20, 0x58, 0x20]
      var digest = [UInt8](repeating: 0, count: 32)
      var count = UInt(digest.count)
      try unsafe check(functions.C_DigestInit(handle, &mechanism), "C_DigestInit", "CKM_SHA256")  // call only
      try unsafe check(functions.C_DigestUpdate(handle, &prefix, UInt(prefix.count)), "C_DigestUpdate")  // call only
      try check(functions.C_DigestKey(handle, object), "C_DigestKey")
      try unsafe check(functions.C_DigestFinal(handle, &digest, &count), "C_DigestFinal")  // for the call only
      return digest
    }
  }

  /// Destroys a session object however `body` ends. A token that cannot gets its session closed instead.
  private func withObject<R: ~Copyable>(
    _ object: UInt, _ body: () throws(CallFailure) -> R
  ) throws(CallFailure) -> R {
    defer { forget(object) }
    return try body()
  }

  func forget(_ object: UInt) {
    if functions.C_DestroyObject(handle, object) != CKR_OK { isSound = false }
  }
}

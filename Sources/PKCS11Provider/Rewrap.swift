public import KMSCore
internal import PKCS11

extension PKCS11Provider: KeyRewrapping {
  /// Wholly inside the token, the check of the result included: the key is never in this process.
  public func rewrap(
    _ keys: [RewrapRequest], from old: KeyVersionID, to new: KeyVersionID
  ) async throws -> [Result<WrappedKey, KMSError>] {
    let operation = "rewrap"
    return try await retrying(operation) { connection in
      let source = try await connection.entry(old, operation: operation)
      try source.version.check(purpose: .wrap, allowing: \.unwraps, operation: operation)
      let target = try await connection.verified(connection.entry(new, operation: operation))
      try target.version.check(purposes: [.wrap, .recovery], allowing: \.wraps, operation: operation)
      guard source.algorithm == .a256KW, target.algorithm == .a256KW else {
        throw KMSError(.notSupported, "only what AES Key Wrap wrapped is rewrapped inside the token")
      }
      var results: [Result<WrappedKey, any Error>] = keys.map { key in
        Result {
          try InputRules.checkKeyWrap(key.wrapped)
          return key.wrapped
        }
      }
      var open = keys.indices.filter { (try? results[$0].get()) != nil }[...]
      while !open.isEmpty {
        let wrapped = open.map { keys[$0].wrapped.bytes }
        let done = try await connection.pool.withSession(weight: wrapped.count) { session throws(CallFailure) in
          try session.rewrap(
            wrapped, from: source.handle, to: target.handle, unwraps: target.version.purpose == .wrap)
        }
        for (index, result) in zip(open, done) {
          results[index] = Result { try Self.checked(result.get(), keys[index].thumbprint) }
        }
        open = open.dropFirst(done.count)
      }
      return results.map { result in
        result.mapError { self.error($0, operation: operation) }
      }
    }
  }

  private static func checked(_ result: Session.Rewrapped, _ thumbprint: [UInt8]) throws -> WrappedKey {
    guard constantTimeEqual(result.thumbprint.span, thumbprint.span) else {
      throw KMSError(
        .doesNotOpen, "the wrapped key is not the one that the envelope commits to",
        advice: "The envelope was changed or put together from others; take a good copy.")
    }
    return WrappedKey(algorithm: .a256KW, bytes: result.wrapped)
  }

  private func error(_ error: any Error, operation: String) -> KMSError {
    let known = (error as? CallFailure)?.error ?? error as? KMSError
    return (known ?? KMSError(.providerFailed, "the token failed")).adding(
      provider: identity.name, operation: operation)
  }
}

extension PKCS11Provider: DirectEncrypting {
  public func encrypt(
    _ plaintext: Span<UInt8>, under id: KeyVersionID, aad: [UInt8]
  ) async throws -> DirectCiphertext {
    try InputRules.checkDirectEncryption(count: plaintext.count, aad: aad)
    // The call owns a copy: should it hang, the caller goes and takes the plaintext with it.
    let plaintext = SharedSecret(SecretBytes(copying: plaintext))
    return try await using(id, for: [.encrypt], allowing: \.wraps, "direct-encrypt") { _ in
      try self.uses.add(id)
    } _: { session, entry, abilities throws(CallFailure) in
      try session.withKEK(entry) { kek throws(CallFailure) in
        try session.encrypt(plaintext, under: kek, aad: aad, abilities)
      }
    }
  }

  public func decrypt(_ ciphertext: DirectCiphertext, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes
  {
    try await using(id, for: [.encrypt], allowing: \.unwraps, "direct-decrypt") { _ in
      guard ciphertext.iv.count == 12, ciphertext.bytes.count >= 16, !aad.isEmpty else {
        throw KMSError(.doesNotOpen, "IV or ciphertext is too short", advice: "Take a good copy.")
      }
    } _: { session, entry, _ throws(CallFailure) in
      try session.withKEK(entry) { kek throws(CallFailure) in
        try session.decrypt(ciphertext.bytes, under: kek, iv: ciphertext.iv, aad: aad)
      }
    }
  }
}

internal import CryptoPrimitives
internal import KMSCore
internal import PKCS11

/// One key wrapped, by whatever its KEK is for. `kek` is the handle of a copy; nil for the key's own.
extension Session {
  func wrap(
    _ key: SharedSecret, under entry: KeyIndex.Entry, at kek: UInt? = nil, aad: [UInt8], _ abilities: WrapAbilities
  ) throws(CallFailure) -> WrappedKey {
    let kek = kek ?? entry.handle
    switch entry.algorithm {
    case .a256KW: return WrappedKey(algorithm: .a256KW, bytes: try wrap(key.bytes, under: kek))
    case .a256GCM:
      let sealed = try encrypt(key, under: kek, aad: aad, abilities)
      return WrappedKey(algorithm: .a256GCM, iv: sealed.iv, bytes: sealed.bytes)
    default:
      guard let rsa = entry.publicKey else {
        throw CallFailure("C_GetAttributeValue", problem: "the token does not give the public key")
      }
      return WrappedKey(
        algorithm: entry.algorithm, bytes: try rsa.wrap(key, isSHA1: entry.algorithm == .rsaOAEPSHA1))
    }
  }

  /// AES-GCM, whosever IV it is.
  func encrypt(
    _ plaintext: SharedSecret, under kek: UInt, aad: [UInt8], _ abilities: WrapAbilities
  ) throws(CallFailure) -> DirectCiphertext {
    let behaviour = try abilities.gcmIV(on: self)
    return try plaintext.bytes.withBytes { span throws(CallFailure) in
      let sealed = try encrypt(span, under: kek, aad: aad, behaviour)
      return DirectCiphertext(iv: sealed.iv, bytes: sealed.bytes)
    }
  }

  /// Runs `body` with the handle of the KEK, or of a copy where that is worth it: of an RSA pair only the public key is
  /// used in heavy use, which is in this process.
  func withKEK<R: ~Copyable>(
    _ entry: KeyIndex.Entry, _ body: (UInt) throws(CallFailure) -> R
  ) throws(CallFailure) -> R {
    try entry.publicKey == nil ? withKEK(entry.handle, body) : body(entry.handle)
  }

  func unwrap(
    _ wrapped: WrappedKey, under entry: KeyIndex.Entry, at kek: UInt? = nil, aad: [UInt8]
  ) throws(CallFailure) -> SecretBytes {
    let kek = kek ?? entry.handle
    return switch entry.algorithm {
    case .a256KW: try unwrap(wrapped.bytes, under: kek)
    case .a256GCM: try decrypt(wrapped.bytes, under: kek, iv: wrapped.iv, aad: aad)
    default: try decryptOAEP(wrapped.bytes, under: kek, isSHA1: entry.algorithm == .rsaOAEPSHA1)
    }
  }
}

extension KeyIndex.Entry {
  /// - Throws: ``KMSError/Code/doesNotOpen``, ``KMSError/Code/notSupported`` when it was wrapped by something else.
  func check(_ wrapped: WrappedKey, _ aad: [UInt8]) throws {
    guard wrapped.algorithm == algorithm else {
      throw KMSError(
        .notSupported, "a key wrapped by \(wrapped.algorithm) cannot be opened here",
        advice: "Configure the provider that wrapped it.")
    }
    switch algorithm {
    case .a256KW: try InputRules.checkKeyWrap(wrapped)
    case .a256GCM:
      guard wrapped.iv.count == 12, wrapped.bytes.count == 48 else {
        throw Self.doesNotOpen("a key wrapped by A256GCM has 48 bytes and an IV of 12")
      }
      guard !aad.isEmpty else { throw Self.doesNotOpen("a key wrapped by A256GCM is bound to additional data") }
    default:
      guard let publicKey, wrapped.bytes.count == (publicKey.bits + 7) / 8 else {
        throw Self.doesNotOpen("a key wrapped by RSA is as long as the modulus")
      }
    }
  }

  private static func doesNotOpen(_ problem: String) -> KMSError {
    KMSError(.doesNotOpen, problem, advice: "Take a good copy.")
  }
}

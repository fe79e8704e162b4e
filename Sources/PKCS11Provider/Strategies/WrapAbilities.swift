internal import CryptoPrimitives
package import KMSCore
package import PKCS11
internal import Synchronization

/// How a token can wrap keys, found out by trying: a list of mechanisms can offer what the token refuses.
///
/// Everything is tried with session keys: nothing is left on the token.
package struct WrapAbilities: Sendable {
  /// What came of trying one algorithm.
  package struct Attempt: Sendable {
    package let algorithm: WrapAlgorithm
    /// Nil when it works.
    package let refusal: String?
  }

  /// In the configured order, as far as it was tried: the first that works ends it.
  package private(set) var attempts: [Attempt] = []
  /// How keys are put into a session and got out of it.
  package private(set) var sessionKeys = SessionKeyProfile.full
  private let gcm = GCM()

  private final class GCM: Sendable {
    let iv = Mutex<GCMIVBehaviour?>(nil)
  }

  /// Nil where GCM was not tried, or does not work.
  package var gcmIV: GCMIVBehaviour? { gcm.iv.withLock { $0 } }

  /// Tried when it is first needed, where new keys wrap by something else. A token that makes no session keys to try
  /// it with gets the caller's IV: whether that was used shows in what comes out.
  func gcmIV(on session: Session) -> GCMIVBehaviour {
    if let gcmIV { return gcmIV }
    let behaviour = (try? session.tryGCM()) ?? .given
    gcm.iv.withLock { $0 = behaviour }
    return behaviour
  }

  /// What new keys wrap by.
  package var chosen: WrapAlgorithm? { attempts.first { $0.refusal == nil }?.algorithm }

  /// - Parameter isComplete: tries all of the order, not only up to the first that works.
  package init(of session: Session, order: [WrapAlgorithm], isComplete: Bool = false) {
    defer { sessionKeys.keepsData = session.triesData() }
    for algorithm in order {
      let refusal = tryOut(algorithm, on: session)
      attempts.append(Attempt(algorithm: algorithm, refusal: refusal))
      if refusal == nil, !isComplete { return }
    }
  }

  /// - Returns: why it does not work; nil when it does.
  private mutating func tryOut(_ algorithm: WrapAlgorithm, on session: Session) -> String? {
    do throws(CallFailure) {
      switch algorithm {
      case .a256KW: sessionKeys = try session.tryKeyWrap()
      case .a256GCM:
        let behaviour = try session.tryGCM()
        gcm.iv.withLock { $0 = behaviour }
      default: try session.tryOAEP(isSHA1: algorithm == .rsaOAEPSHA1)
      }
      return nil
    } catch { return error.problem ?? "\(error.function): \(error.returned)" }
  }

  /// - Throws: ``KMSError/Code/notSupported``, with what the token said to each.
  func chosenAlgorithm() throws(KMSError) -> WrapAlgorithm {
    if let chosen { return chosen }
    let reasons = attempts.map { "\($0.algorithm): \($0.refusal ?? "")" }.joined(separator: "; ")
    throw KMSError(
      .notSupported, "the token can wrap keys by none of the configured algorithms",
      advice: attempts.contains { $0.algorithm == .rsaOAEPSHA1 }
        ? "'strongroom doctor --module' shows what it can do."
        : "'strongroom doctor --module' shows what it can do; old tokens may need RSA-OAEP-SHA1 in wrap-algorithms.",
      cause: reasons)
  }
}

extension Session {
  /// Wraps and unwraps under a session key, with each profile until one gives the key back.
  fileprivate func tryKeyWrap() throws(CallFailure) -> SessionKeyProfile {
    let before = profile
    defer { profile = before }
    let kek = try generateProbe(encrypts: false)
    defer { destroyQuietly(kek) }
    let probe = SecretBytes.random(count: 32)
    var first: CallFailure?
    for next in SessionKeyProfile.all {
      profile = next
      do throws(CallFailure) {
        let wrapped = try wrap(probe, under: kek)
        guard wrapped.count == 40 else {
          throw CallFailure("C_WrapKey", problem: "\(wrapped.count) bytes came, not 40")
        }
        let back = try unwrap(wrapped, under: kek)
        let same = back.equals(probe)
        guard same else { throw CallFailure("C_UnwrapKey", problem: "another key came back than was wrapped") }
        return next
      } catch {
        first = first ?? error
        guard !error.returned.endsSession, !error.returned.meansCannot else { throw error }
      }
    }
    throw first ?? CallFailure("C_WrapKey", problem: "no profile")
  }

  /// Finds out whose IV is used, by decrypting with each that it could be.
  fileprivate func tryGCM() throws(CallFailure) -> GCMIVBehaviour {
    let key = try generateProbe(encrypts: true)
    defer { destroyQuietly(key) }
    let probe = SecretBytes.random(count: 32)
    let (plaintext, aad) = (probe.unprotectedCopy(), Array("strongroom".utf8))
    // Zeros, as some tokens take no others. The key is thrown away.
    var iv = [UInt8](repeating: 0, count: 12)
    let output = try encrypt(plaintext.span, under: key, iv: &iv, aad: aad)
    let candidates: [(GCMIVBehaviour, [UInt8], [UInt8])] =
      switch output.count {
      case 48: [(iv == [UInt8](repeating: 0, count: 12) ? .given : .overwritten, iv, output)]
      case 60:
        [
          (.prepended, Array(output[..<12]), Array(output[12...])),
          (.appended, Array(output[48...]), Array(output[..<48])),
        ]
      case 64: throw CallFailure("C_Encrypt", problem: "its IVs for AES-GCM have 16 bytes, and an envelope holds 12")
      default: []
      }
    for (behaviour, iv, bytes) in candidates {
      guard let back = try? decrypt(bytes, under: key, iv: iv, aad: aad) else { continue }
      let same = back.equals(probe)
      guard same else { continue }
      // As it will be used.
      let real = try encrypt(plaintext.span, under: key, aad: aad, behaviour)
      let again = try decrypt(real.bytes, under: key, iv: real.iv, aad: aad)
      let isRight = again.equals(probe)
      guard isRight else { continue }
      return behaviour
    }
    throw CallFailure("C_Encrypt", problem: "no IV of 12 bytes opens what AES-GCM gave (\(output.count) bytes for 32)")
  }

  fileprivate func tryOAEP(isSHA1: Bool) throws(CallFailure) {
    let templates = KeyTemplates.probeRSA
    let pair = try generateRSA(publicKey: templates.publicKey, privateKey: templates.privateKey)
    defer {
      destroyQuietly(pair.publicKey)
      destroyQuietly(pair.privateKey)
    }
    let values = try attributes(of: pair.publicKey, [.modulus, .publicExponent])
    let probe = SharedSecret(.random(count: 32))
    let wrapped = try RSAKey(of: values).wrap(probe, isSHA1: isSHA1)
    let back = try decryptOAEP(wrapped, under: pair.privateKey, isSHA1: isSHA1)
    let same = back.equals(probe.bytes)
    guard same else { throw CallFailure("C_Decrypt", problem: "another key came back than was wrapped") }
  }

  func destroyQuietly(_ object: UInt) { try? destroy(object) }
}

extension RSAKey {
  /// From CKA_MODULUS and CKA_PUBLIC_EXPONENT.
  convenience init(of values: [[UInt8]?]) throws(CallFailure) {
    do {
      try self.init(modulus: values[0] ?? [], exponent: values[1] ?? [], name: "the token")
    } catch { throw CallFailure("C_GetAttributeValue", problem: "the token's RSA key cannot be used: \(error)") }
  }

  /// In software: the public key is no secret.
  func wrap(_ key: SharedSecret, isSHA1: Bool) throws(CallFailure) -> [UInt8] {
    do { return try key.bytes.withBytes { try encrypt($0, isSHA1: isSHA1) } } catch {
      throw CallFailure("EVP_PKEY_encrypt", problem: "the key cannot be wrapped by RSA-OAEP: \(error)")
    }
  }
}

/// A secret that a call owns together with its caller, who may have left when the call ends.
final class SharedSecret: Sendable {
  let bytes: SecretBytes
  init(_ bytes: consuming SecretBytes) { self.bytes = bytes }
}

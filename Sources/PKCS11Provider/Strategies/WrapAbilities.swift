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
  /// False when the token gave an answer that may be another one later: it is to be asked again.
  package private(set) var isSettled = true
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
  func gcmIV(on session: Session) throws(CallFailure) -> GCMIVBehaviour {
    if let gcmIV { return gcmIV }
    do throws(CallFailure) {
      let behaviour = try session.tryGCM()
      gcm.iv.withLock { $0 = behaviour }
      return behaviour
    } catch {
      guard !error.returned.endsSession else { throw error }
      if error.isRefusal { gcm.iv.withLock { $0 = .given } }
      return .given
    }
  }

  /// Whether ``sessionKeys`` has been seen to work.
  var hasTriedSessionKeys: Bool { attempts.contains { $0.algorithm == .a256KW && $0.refusal == nil } }

  /// What new keys wrap by.
  package var chosen: WrapAlgorithm? { attempts.first { $0.refusal == nil }?.algorithm }

  /// - Parameter isComplete: tries all of the order, not only up to the first that works, whatever comes of it.
  /// - Throws: what says nothing of the token's abilities: a lost session or token, no room.
  package init(of session: Session, order: [WrapAlgorithm], isComplete: Bool = false) throws(CallFailure) {
    for algorithm in order {
      let failure = failure(of: algorithm, on: session)
      if let failure, !isComplete { try judge(failure, on: session) }
      let refusal = failure.map { $0.problem ?? "\($0.function): \($0.returned)" }
      attempts.append(Attempt(algorithm: algorithm, refusal: refusal))
      if refusal == nil, !isComplete { break }
    }
    try tryData(on: session)
  }

  /// Takes a failure for an answer, unless it says nothing of what the token can.
  private mutating func judge(_ failure: CallFailure, on session: Session) throws(CallFailure) {
    if failure.returned.wantsLogin {
      try session.checkLogin()
    } else if failure.returned.endsSession || failure.returned.lacksRoom {
      throw failure
    }
    if !failure.isRefusal { isSettled = false }
  }

  /// Whether the token takes data objects. Where there are records already, they are looked for where they are, whatever
  /// it says: none may be overlooked.
  private mutating func tryData(on session: Session) throws(CallFailure) {
    do throws(CallFailure) { try session.tryData() } catch {
      try judge(error, on: session)
      let takesNone = error.returned.meansBadTemplate
      sessionKeys.keepsData = !takesNone
      do throws(CallFailure) {
        if try session.hasRecords(inData: takesNone) { sessionKeys.keepsData = takesNone }
      } catch { try judge(error, on: session) }
    }
  }

  /// - Returns: why it does not work; nil when it does.
  private mutating func failure(of algorithm: WrapAlgorithm, on session: Session) -> CallFailure? {
    do throws(CallFailure) {
      switch algorithm {
      case .a256KW: sessionKeys = try session.tryKeyWrap()
      case .a256GCM:
        let behaviour = try session.tryGCM()
        gcm.iv.withLock { $0 = behaviour }
      default: try session.tryOAEP(isSHA1: algorithm == .rsaOAEPSHA1)
      }
      return nil
    } catch { return error }
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

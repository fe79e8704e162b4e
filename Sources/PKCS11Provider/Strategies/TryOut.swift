internal import CryptoPrimitives
internal import KMSCore
internal import PKCS11

/// Tries one algorithm out with session keys: nothing is left on the token.
extension Session {
  /// Wraps and unwraps under a session key, with each profile until one gives the key back.
  func tryKeyWrap() throws(CallFailure) -> SessionKeyProfile {
    let before = profile
    defer { profile = before }
    let kek = try twice { () throws(CallFailure) in try generateProbe(encrypts: false) }
    defer { destroyQuietly(kek) }
    var failures: [CallFailure] = []
    for next in SessionKeyProfile.all {
      profile = next
      do throws(CallFailure) {
        try twice { () throws(CallFailure) in try tryKeyWrap(under: kek) }
        return next
      } catch {
        guard !error.returned.endsSession, !error.returned.lacksRoom, !error.returned.meansCannot else { throw error }
        failures.append(error)
      }
    }
    guard let first = failures.first else { throw CallFailure("C_WrapKey", problem: "no profile") }
    // The first says most; with any of them it may have failed by chance.
    let doubt = failures.first { !$0.isRefusal } ?? first
    throw CallFailure(
      function: first.function, returned: doubt.returned, mechanism: first.mechanism,
      problem: first.problem ?? "\(first.function): \(first.returned)")
  }

  private func tryKeyWrap(under kek: UInt) throws(CallFailure) {
    let probe = SecretBytes.random(count: 32)
    let wrapped = try wrap(probe, under: kek)
    guard wrapped.count == 40 else { throw CallFailure("C_WrapKey", problem: "\(wrapped.count) bytes came, not 40") }
    let back = try unwrap(wrapped, under: kek)
    let same = back.equals(probe)
    guard same else { throw CallFailure("C_UnwrapKey", problem: "another key came back than was wrapped") }
  }

  /// Once more, where it may have failed by chance.
  private func twice<R>(_ body: () throws(CallFailure) -> R) throws(CallFailure) -> R {
    do throws(CallFailure) { return try body() } catch {
      guard !error.isRefusal, !error.returned.endsSession || error.returned.wantsLogin else { throw error }
      return try body()
    }
  }

  /// Finds out whose IV is used, by decrypting with each that it could be.
  func tryGCM() throws(CallFailure) -> GCMIVBehaviour {
    try twice { () throws(CallFailure) in try tryGCMOnce() }
  }

  private func tryGCMOnce() throws(CallFailure) -> GCMIVBehaviour {
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
    var returned: ReturnValue?
    for (behaviour, iv, bytes) in candidates {
      let back: SecretBytes
      do throws(CallFailure) { back = try decrypt(bytes, under: key, iv: iv, aad: aad) } catch {
        guard !error.returned.endsSession, !error.returned.lacksRoom else { throw error }
        returned = error.returned
        continue
      }
      let same = back.equals(probe)
      guard same else { continue }
      // As it will be used.
      let real = try encrypt(plaintext.span, under: key, aad: aad, behaviour)
      let again = try decrypt(real.bytes, under: key, iv: real.iv, aad: aad)
      let isRight = again.equals(probe)
      guard isRight else { continue }
      return behaviour
    }
    throw CallFailure(
      function: "C_Encrypt", returned: returned ?? ReturnValue(0),
      problem: "no IV of 12 bytes opens what AES-GCM gave (\(output.count) bytes for 32)")
  }

  func tryOAEP(isSHA1: Bool) throws(CallFailure) {
    try twice { () throws(CallFailure) in try tryOAEPOnce(isSHA1: isSHA1) }
  }

  private func tryOAEPOnce(isSHA1: Bool) throws(CallFailure) {
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

  /// Makes a data object of the session.
  func tryData() throws(CallFailure) {
    try twice { () throws(CallFailure) in destroyQuietly(try create(TokenRecord.trial)) }
  }

  func destroyQuietly(_ object: UInt) { try? destroy(object) }
}

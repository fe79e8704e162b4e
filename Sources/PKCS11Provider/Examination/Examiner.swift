internal import KMSCore
internal import PKCS11
internal import Synchronization

/// A token that is open for an examination. One step at a time; all keys are of the session.
final class Examiner: Sendable {
  let module: Module
  let token: Token
  let session: Session
  /// As far as it is known: a step that hangs leaves what the others found.
  let result: Mutex<TokenExamination>

  init(module path: String, arguments: String?, label: String?, pin: borrowing SecretBytes) throws {
    let module = try Module(path: path, arguments: arguments)
    self.module = module
    token = try label.map { try Token.find(label: $0, serial: nil, in: module) } ?? Token.only(in: module)
    try token.checkPINMayBeTried()
    do throws(CallFailure) {
      session = try Session(module: module, slot: token.slot)
      try session.login(pin: pin)
    } catch { throw error.error }
    result = Mutex(
      TokenExamination(label: token.label, serial: token.serial, firmware: token.firmware, module: path))
  }

  static let steps: [(name: String, isMeasurement: Bool, run: @Sendable (Examiner) -> Void)] = [
    ("trying mechanisms", false, { $0.tryMechanisms() }), ("making a key", false, { $0.makeKey() }),
    ("changing a key", false, { $0.changeKey() }), ("opening sessions", false, { $0.openSessions() }),
    ("measuring calls", true, { $0.measureCalls() }),
  ]

  func note(_ quirk: String) { result.withLock { $0.quirks.append(quirk) } }

  private func tryMechanisms() {
    let order: [WrapAlgorithm] = [.a256KW, .a256GCM, .rsaOAEP256, .rsaOAEPSHA1]
    let abilities: WrapAbilities
    do { abilities = try WrapAbilities(of: session, order: order, isComplete: true) } catch {
      return note("it fails while it is tried out: \(error.function): \(error.returned)")
    }
    session.profile = abilities.sessionKeys
    let listed = try? token.mechanisms(in: module)
    if listed == nil { note("it does not list its mechanisms") }
    let names: [WrapAlgorithm: (mechanism: String, number: UInt, use: String)] = [
      .a256KW: ("CKM_AES_KEY_WRAP", 0x2109, "C_WrapKey, C_UnwrapKey"),
      .a256GCM: ("CKM_AES_GCM", 0x1087, "C_Encrypt, C_Decrypt"),
      .rsaOAEP256: ("CKM_RSA_PKCS_OAEP", 9, "C_Decrypt with SHA-256"),
      .rsaOAEPSHA1: ("CKM_RSA_PKCS_OAEP", 9, "C_Decrypt with SHA-1"),
    ]
    for attempt in abilities.attempts {
      guard let name = names[attempt.algorithm] else { continue }
      let trial = TokenExamination.Trial(
        mechanism: name.mechanism, use: name.use, isListed: listed?.contains(name.number) ?? false,
        refusal: attempt.refusal)
      result.withLock { $0.trials.append(trial) }
      if trial.isListed, let refusal = trial.refusal {
        note("it lists \(name.mechanism), but \(name.use) does not work: \(refusal)")
      }
      if !trial.isListed, trial.refusal == nil { note("it does not list \(name.mechanism), but it works") }
    }
    // SHA-1 is only taken on request.
    let chosen = abilities.attempts.first { $0.refusal == nil && $0.algorithm != .rsaOAEPSHA1 }?.algorithm
    let works = abilities.attempts.filter { $0.refusal == nil }
    result.withLock {
      $0.algorithm = chosen
      $0.reason =
        chosen != nil
        ? "the first of A256KW, A256GCM and RSA-OAEP-256 that works"
        : works.isEmpty ? "nothing that was tried works" : "only RSA-OAEP-SHA1 works, which must be asked for by name"
      $0.gcmIV = abilities.gcmIV.map(Self.description)
    }
    if abilities.gcmIV != nil, abilities.gcmIV != .given { note("it picks the IV of AES-GCM itself") }
    if abilities.sessionKeys.name != "full" { note("it takes session keys only \(abilities.sessionKeys.name)") }
  }

  private static func description(_ behaviour: GCMIVBehaviour) -> String {
    switch behaviour {
    case .given: "the caller's IV"
    case .overwritten: "the token's, written over the caller's zeros"
    case .prepended: "the token's, before the ciphertext"
    case .appended: "the token's, after the tag"
    }
  }

  private static let attributeTypes: [AttributeType] = [
    .sensitive, .extractable, .isPrivate, .derive, .alwaysSensitive, .neverExtractable, .local, .wrap, .unwrap,
    .encrypt, .decrypt,
  ]

  /// As the KEK would be, but for the session.
  private func makeKey() {
    guard let name = try? KeyName("strongroom-doctor") else { return }
    let request = NewKeyVersion(key: name)
    let attributes = KeyTemplates.newKey(request, .a256KW, isImport: false)
    var refusals: [String] = []
    for profile in KeyTemplates.profiles {
      let made: UInt
      do throws(CallFailure) {
        made = try session.generateAES(
          KeyTemplates.template(attributes, without: profile.without, isOnToken: false))
      } catch {
        refusals.append("\(profile.name): \(error.returned)")
        continue
      }
      defer { session.destroyQuietly(made) }
      if profile.name != "full" { note("it takes a KEK's template only \(profile.name)") }
      result.withLock { $0.template = profile.name }
      readBack(made)
      return
    }
    note("it makes no KEK by any template: \(refusals.joined(separator: "; "))")
  }

  private func readBack(_ key: UInt) {
    let expected = [true, false, true, false, true, true, true, true, true, false, false]
    let values = (try? session.attributes(of: key, Self.attributeTypes)) ?? Self.attributeTypes.map { _ in nil }
    for ((type, value), wanted) in zip(zip(Self.attributeTypes, values), expected) {
      let flag = value.map { $0 == [1] }
      result.withLock { $0.attributes.append((type.name, flag)) }
      if type == .local, !token.tellsLocal {
        note("it says of no secret key that it was made there (CKA_LOCAL): the suite cannot ask for that")
      } else if flag != wanted, flag != nil || type != .derive {
        note("\(type.name) of a new KEK is \(flag.map { "\($0)" } ?? "not told"), not \(wanted): the suite destroys it")
      }
    }
    guard let other = try? session.generateProbe(encrypts: false) else { return }
    defer { session.destroyQuietly(other) }
    if session.givesOut(key, under: other) {
      note("it gives out a KEK that was made as not extractable: do not keep keys in it")
    }
  }

  /// What state changes rely on.
  private func changeKey() {
    guard let key = try? session.generateProbe(encrypts: false) else { return }
    defer { session.destroyQuietly(key) }
    do throws(CallFailure) { try session.set(.wrap, to: false, of: key) } catch {
      note("it changes no attributes (\(error.returned)): the suite keeps the states of keys itself")
    }
    do throws(CallFailure) { session.destroyQuietly(try session.copyForSession(key)) } catch {
      note("it copies no keys (\(error.returned)): rewrapping in bulk is slower")
    }
  }

  private static let most = 64

  private func openSessions() {
    var open: [Session] = []
    while open.count < Self.most, let next = try? Session(module: module, slot: token.slot) { open.append(next) }
    let count = open.count + 1
    result.withLock { $0.sessions = (count, count <= Self.most) }
    if count < 9 { note("it gives \(count) sessions only: set max-sessions, and mind other programs") }
  }

}

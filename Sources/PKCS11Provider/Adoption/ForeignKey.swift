internal import KMSCore
internal import PKCS11

/// A secret key on the token, as far as it matters to whoever would adopt it.
struct ForeignKey {
  let handle: UInt
  /// The handle, and those of copies that a restriction has left which was cut off.
  private(set) var all: [UInt]
  let id: [UInt8]
  let label: String
  private let keyType: UInt?
  private let length: UInt?
  private let checkValue: [UInt8]
  /// Nil where the token does not say.
  private var flags: [AttributeType: Bool]

  private static let flagTypes: [AttributeType] = [
    .sensitive, .extractable, .wrap, .unwrap, .encrypt, .decrypt, .alwaysSensitive, .neverExtractable, .local, .sign,
    .derive, .isPrivate,
  ]

  init(_ handle: UInt, in session: Session) throws(CallFailure) {
    let values = try session.attributes(
      of: handle, [.id, .label, .keyType, .valueLength, .checkValue] + Self.flagTypes)
    self.handle = handle
    all = [handle]
    id = values[0] ?? []
    label = String(
      String.UnicodeScalarView(
        String(decoding: values[1] ?? [], as: UTF8.self).unicodeScalars.map {
          $0.properties.generalCategory == .control || $0.properties.generalCategory == .format ? "?" : $0
        }))
    keyType = values[2].flatMap(Self.number)
    length = values[3].flatMap(Self.number)
    checkValue = values[4] ?? []
    var flags: [AttributeType: Bool] = [:]
    for (type, value) in zip(Self.flagTypes, values.dropFirst(5)) { flags[type] = value.map { $0 == [1] } }
    self.flags = flags
  }

  private var wraps: Bool { has(.wrap) || has(.unwrap) }
  private var encrypts: Bool { has(.encrypt) || has(.decrypt) }
  var purpose: KeyPurpose? { wraps == encrypts ? nil : wraps ? .wrap : .encrypt }
  /// Whether it can be tried out.
  var isActive: Bool { wraps ? has(.wrap) : has(.encrypt) }

  /// - Parameter ids: how many keys have each id.
  func candidate(among ids: [[UInt8]: Int]) -> AdoptionCandidate {
    AdoptionCandidate(
      id: try? KeyVersionID(id), label: label, purpose: purpose, obstacles: obstacles(ids), warnings: warnings)
  }

  /// What must change so that it serves the purpose and nothing else.
  func restrictions(to purpose: KeyPurpose) -> [(flag: AttributeType, value: Bool)] {
    let uses: [AttributeType] = purpose == .wrap ? [.encrypt, .decrypt] : [.wrap, .unwrap]
    let wanted = [(.sensitive, true), (.extractable, false)] + (uses + [.sign, .derive]).map { ($0, false) }
    return wanted.filter { flags[$0.0] == !$0.1 }
  }

  func with(_ changes: [(flag: AttributeType, value: Bool)]) -> ForeignKey {
    var key = self
    for change in changes { key.flags[change.flag] = change.value }
    return key
  }

  /// Whether they are one key: the token says that they have one check value.
  func isCopy(of other: ForeignKey) -> Bool {
    !id.isEmpty && id == other.id && label == other.label && !checkValue.isEmpty && checkValue == other.checkValue
  }

  /// What one of the copies may do, or could, holds for the key.
  mutating func take(_ copy: ForeignKey) {
    all += copy.all
    for (type, value) in copy.flags {
      let isGood = [.sensitive, .alwaysSensitive, .neverExtractable, .local, .isPrivate].contains(type)
      if value != isGood { flags[type] = value }
    }
  }

  private func obstacles(_ ids: [[UInt8]: Int]) -> [AdoptionCandidate.Obstacle] {
    let another = "or make another with 'strongroom key create'."
    let tool = "with the vendor's tool, \(another)"
    let restrict = "Let 'strongroom key adopt --restrict' switch it off if nobody needs it, \(another)"
    var found: [AdoptionCandidate.Obstacle] = []
    func refuse(_ condition: Bool, _ problem: String, _ advice: String) {
      if condition { found.append(.init(problem, advice: advice, isRemovable: advice == restrict)) }
    }
    let isAES256 = keyType == 0x1F && length == 32  // CKK_AES
    refuse(
      !isAES256, keyType == 0x1F ? "it is AES with \((length ?? 0) * 8) bits" : "it is no AES key",
      "Only AES-256 keys are taken: make one with 'strongroom key create'.")
    refuse(id.isEmpty, "it has no CKA_ID", "Give it one with the vendor's tool; pkcs11-tool: --set-id.")
    refuse(id.count > 64, "its CKA_ID has more than 64 bytes", "Give it a shorter one with the vendor's tool.")
    refuse(
      !id.isEmpty && ids[id] ?? 0 > 1, "another key has the same CKA_ID",
      "Give one of them another with the vendor's tool; pkcs11-tool: --set-id.")
    refuse(!wraps && !encrypts, "it neither wraps nor encrypts", "Switch CKA_WRAP and CKA_UNWRAP on \(tool)")
    refuse(has(.wrap) && !has(.unwrap), "it wraps, but does not unwrap", "Switch CKA_UNWRAP on \(tool)")
    refuse(has(.encrypt) && !has(.decrypt), "it encrypts, but does not decrypt", "Switch CKA_DECRYPT on \(tool)")
    refuse(
      wraps && encrypts, "it both wraps and encrypts, so that any session could read out what it wraps", restrict)
    refuse(flags[.sensitive] != true, "it can be read (CKA_SENSITIVE is off)", restrict)
    refuse(flags[.extractable] != false, "it can be taken out of the token (CKA_EXTRACTABLE is on)", restrict)
    return found
  }

  private var warnings: [String] {
    [
      flags[.alwaysSensitive] == true ? nil : "it was readable once (CKA_ALWAYS_SENSITIVE is off)",
      flags[.neverExtractable] == true ? nil : "it could be taken out once (CKA_NEVER_EXTRACTABLE is off)",
      flags[.local] == true ? nil : "it was not made in this token (CKA_LOCAL is off): there may be copies",
      flags[.isPrivate] == false ? "it can be used without the PIN (CKA_PRIVATE is off)" : nil,
      has(.sign) || has(.derive) ? "it may also sign or derive keys (CKA_SIGN, CKA_DERIVE)" : nil,
    ].compactMap { $0 }
  }

  private func has(_ flag: AttributeType) -> Bool { flags[flag] == true }

  /// CK_ULONG, as the token lays it out.
  private static func number(_ bytes: [UInt8]) -> UInt? {
    bytes.count == 8 ? bytes.reversed().reduce(0) { $0 << 8 | UInt($1) } : nil
  }
}

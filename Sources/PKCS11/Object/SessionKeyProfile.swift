internal import CP11Kit

/// Which attributes the keys have that are unwrapped into a session or made there to be wrapped. No template pleases
/// all tokens: these are tried in order, and the first that works is kept.
package struct SessionKeyProfile: Sendable {
  package let name: String
  /// Whether the token takes data objects (CKO_DATA), which records of the suite are otherwise.
  package var keepsData = true
  /// For C_CreateObject with a value.
  let made: Template
  /// For C_UnwrapKey of a key that is then read.
  let readable: Template
  /// For C_UnwrapKey of a key that stays inside.
  let kept: Template

  /// SoftHSM reads a key back only if it is EXTRACTABLE; another token calls that READ_ONLY. CKA_VALUE_LEN is wanted
  /// by some and forbidden by others.
  package static let all: [SessionKeyProfile] = [
    full, SessionKeyProfile("without CKA_EXTRACTABLE", without: [.extractable]),
    SessionKeyProfile("without CKA_SENSITIVE and CKA_EXTRACTABLE", without: [.extractable, .sensitive]),
    SessionKeyProfile("without CKA_PRIVATE", without: [.isPrivate]),
    SessionKeyProfile("with CKA_VALUE_LEN", hasLength: true),
    SessionKeyProfile("with CKA_VALUE_LEN, without CKA_EXTRACTABLE", hasLength: true, without: [.extractable]),
    SessionKeyProfile(
      "with CKA_VALUE_LEN, without CKA_SENSITIVE and CKA_EXTRACTABLE", hasLength: true,
      without: [.extractable, .sensitive]),
    SessionKeyProfile("as an AES key", keyType: CKK_AES),
    SessionKeyProfile("as an AES key with CKA_VALUE_LEN", keyType: CKK_AES, hasLength: true),
  ]

  package static let full = SessionKeyProfile("full")

  package func isSame(as other: SessionKeyProfile) -> Bool {
    made === other.made && readable === other.readable && kept === other.kept && keepsData == other.keepsData
  }

  private init(
    _ name: String, keyType: UInt = CKK_GENERIC_SECRET, hasLength: Bool = false, without: Set<AttributeType> = []
  ) {
    self.name = name
    func template(sensitive: Bool, hasLength: Bool) -> Template {
      let attributes: [(AttributeType, Template.Value)] = [
        (.objectClass, .number(CKO_SECRET_KEY)), (.keyType, .number(keyType)), (.token, .flag(false)),
        (.isPrivate, .flag(true)), (.sensitive, .flag(sensitive)), (.extractable, .flag(true)),
      ]
      let length: [(AttributeType, Template.Value)] = hasLength ? [(.valueLength, .number(32))] : []
      return Template(attributes.filter { !without.contains($0.0) } + length)
    }
    made = template(sensitive: false, hasLength: false)
    readable = template(sensitive: false, hasLength: hasLength)
    kept = template(sensitive: true, hasLength: hasLength)
  }
}

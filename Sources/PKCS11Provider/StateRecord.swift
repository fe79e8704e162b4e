internal import KMSCore
internal import PKCS11

/// A version's state, where the key's flags on the token cannot say it: a small data object beside the key, so that
/// every node sees it. A record wins over the flags.
struct StateRecord {
  let id: KeyVersionID
  let state: KeyState
  let purpose: KeyPurpose
  /// Whether the flags say the same as far as they can, so that the token itself refuses.
  let isEnforcedByToken: Bool

  private static let dataObject = UInt(0)  // CKO_DATA
  private static let application = Array("strongroom".utf8)

  static let all = Template([
    (.objectClass, .number(dataObject)), (.token, .flag(true)), (.application, .bytes(application)),
  ])

  static func named(_ id: KeyVersionID) -> Template {
    Template([
      (.objectClass, .number(dataObject)), (.token, .flag(true)), (.application, .bytes(application)),
      (.label, .bytes(Array(id.description.utf8))),
    ])
  }

  var template: Template {
    let text = "state=\(state.rawValue) purpose=\(purpose.rawValue) token=\(isEnforcedByToken)"
    return Template([
      (.objectClass, .number(Self.dataObject)), (.token, .flag(true)), (.isPrivate, .flag(true)),
      (.application, .bytes(Self.application)), (.label, .bytes(Array(id.description.utf8))),
      (.value, .bytes(Array(text.utf8))),
    ])
  }

  init(id: KeyVersionID, state: KeyState, purpose: KeyPurpose, isEnforcedByToken: Bool) {
    self.id = id
    self.state = state
    self.purpose = purpose
    self.isEnforcedByToken = isEnforcedByToken
  }

  /// From CKA_LABEL and CKA_VALUE; nil for somebody else's object.
  init?(label: [UInt8]?, value: [UInt8]?) {
    guard let label, let value, let id = try? KeyVersionID(parsing: String(decoding: label, as: UTF8.self)) else {
      return nil
    }
    var fields: [Substring: String] = [:]
    for field in String(decoding: value, as: UTF8.self).split(separator: " ") {
      let sides = field.split(separator: "=", maxSplits: 1)
      if sides.count == 2 { fields[sides[0]] = String(sides[1]) }
    }
    guard let state = fields["state"].flatMap({ KeyState(rawValue: $0) }),
      let purpose = fields["purpose"].flatMap({ KeyPurpose(rawValue: $0) })
    else { return nil }
    self.init(id: id, state: state, purpose: purpose, isEnforcedByToken: fields["token"] == "true")
  }
}

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

  private static let application = Array("strongroom".utf8)

  static let all = Template(DataObject.attributes(application))

  static func named(_ id: KeyVersionID) -> Template { Template(DataObject.attributes(application, label: id)) }

  var template: Template {
    Template(
      DataObject.attributes(Self.application, label: id)
        + DataObject.content("state=\(state.rawValue) purpose=\(purpose.rawValue) token=\(isEnforcedByToken)"))
  }

  init(id: KeyVersionID, state: KeyState, purpose: KeyPurpose, isEnforcedByToken: Bool) {
    self.id = id
    self.state = state
    self.purpose = purpose
    self.isEnforcedByToken = isEnforcedByToken
  }

  /// From CKA_LABEL and CKA_VALUE; nil for somebody else's object.
  init?(label: [UInt8]?, value: [UInt8]?) {
    let fields = DataObject.fields(value)
    guard let id = DataObject.id(label), let state = fields["state"].flatMap({ KeyState(rawValue: $0) }),
      let purpose = fields["purpose"].flatMap({ KeyPurpose(rawValue: $0) })
    else { return nil }
    self.init(id: id, state: state, purpose: purpose, isEnforcedByToken: fields["token"] == "true")
  }
}

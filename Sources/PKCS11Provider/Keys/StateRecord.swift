internal import KMSCore
internal import PKCS11

/// A version's state, where the key's flags on the token cannot say it. It wins over the flags.
struct StateRecord {
  let id: KeyVersionID
  let state: KeyState
  let purpose: KeyPurpose
  /// Whether the flags say the same as far as they can, so that the token itself refuses.
  let isEnforcedByToken: Bool

  static let kind = "strongroom"

  var record: TokenRecord {
    TokenRecord(
      kind: Self.kind, id: id,
      text: "state=\(state.rawValue) purpose=\(purpose.rawValue) token=\(isEnforcedByToken)")
  }

  init(id: KeyVersionID, state: KeyState, purpose: KeyPurpose, isEnforcedByToken: Bool) {
    self.id = id
    self.state = state
    self.purpose = purpose
    self.isEnforcedByToken = isEnforcedByToken
  }

  /// Nil for somebody else's.
  init?(_ record: TokenRecord) {
    let fields = record.fields
    guard let state = fields["state"].flatMap({ KeyState(rawValue: $0) }),
      let purpose = fields["purpose"].flatMap({ KeyPurpose(rawValue: $0) })
    else { return nil }
    self.init(id: record.id, state: state, purpose: purpose, isEnforcedByToken: fields["token"] == "true")
  }
}

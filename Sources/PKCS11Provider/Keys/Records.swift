internal import KMSCore
internal import PKCS11

/// What the suite writes on the token beside keys, for every node to see: `name=value` pairs about a version.
///
/// A data object (CKO_DATA); on a token that keeps none (NSS), the label of a key that is good for nothing.
struct TokenRecord {
  /// CKA_APPLICATION.
  let kind: String
  let id: KeyVersionID
  let text: String

  var fields: [Substring: String] {
    var fields: [Substring: String] = [:]
    for field in text.split(separator: " ") {
      let sides = field.split(separator: "=", maxSplits: 1)
      if sides.count == 2 { fields[sides[0]] = String(sides[1]) }
    }
    return fields
  }

  init(kind: String, id: KeyVersionID, text: String) {
    self.kind = kind
    self.id = id
    self.text = text
  }

  // MARK: As a data object

  fileprivate static func dataObjects(_ kind: String, of id: KeyVersionID?) -> Template {
    Template(
      [(.objectClass, .number(0)), (.token, .flag(true)), (.application, .bytes(Array(kind.utf8)))]  // CKO_DATA
        + (id.map { [(.label, .bytes(Array($0.description.utf8)))] } ?? []))
  }

  fileprivate var dataObject: Template {
    Template([
      (.objectClass, .number(0)), (.token, .flag(true)), (.application, .bytes(Array(kind.utf8))),
      (.label, .bytes(Array(id.description.utf8))), (.isPrivate, .flag(true)), (.value, .bytes(Array(text.utf8))),
    ])
  }

  /// One of the session, to find out whether the token takes any.
  static let trial = Template([
    (.objectClass, .number(0)), (.token, .flag(false)), (.isPrivate, .flag(true)),
    (.application, .bytes(Array("strongroom".utf8))), (.value, .bytes([0])),
  ])

  /// Nil for somebody else's object.
  fileprivate init?(_ kind: String, label: [UInt8]?, value: [UInt8]?) {
    guard let id = label.flatMap({ try? KeyVersionID(parsing: String(decoding: $0, as: UTF8.self)) }) else {
      return nil
    }
    self.init(kind: kind, id: id, text: String(decoding: value ?? [], as: UTF8.self))
  }

  // MARK: As a key's label

  fileprivate static let keys = Template([
    (.objectClass, .number(4)), (.keyType, .number(0x10)), (.token, .flag(true)),  // CKO_SECRET_KEY, CKK_GENERIC_SECRET
  ])

  /// The id is its own: NSS replaces a key by another with the same id.
  fileprivate var key: Template {
    Template([
      (.objectClass, .number(4)), (.keyType, .number(0x10)), (.token, .flag(true)), (.isPrivate, .flag(true)),
      (.sensitive, .flag(true)), (.extractable, .flag(false)), (.encrypt, .flag(false)), (.decrypt, .flag(false)),
      (.wrap, .flag(false)), (.unwrap, .flag(false)), (.sign, .flag(false)), (.verify, .flag(false)),
      (.derive, .flag(false)), (.id, .bytes(KeyVersionID.make().bytes)),
      (.label, .bytes(Array("\(kind) \(id) \(text)".utf8))),
    ])
  }

  /// Nil for another kind's, and for somebody else's key.
  fileprivate init?(_ kind: String, keyLabel: [UInt8]?) {
    let parts = String(decoding: keyLabel ?? [], as: UTF8.self).split(separator: " ", maxSplits: 2)
    guard parts.count == 3, parts[0] == kind, let id = try? KeyVersionID(parsing: String(parts[1])) else { return nil }
    self.init(kind: kind, id: id, text: String(parts[2]))
  }

  /// For who lists the token's keys.
  static func isRecord(keyLabel: String) -> Bool {
    [StateRecord.kind, AdoptionRecord.kind].contains { TokenRecord($0, keyLabel: Array(keyLabel.utf8)) != nil }
  }
}

extension Session {
  /// Those of one version, or of all, with their handles. One that another process has just removed is left out.
  func records(
    _ kind: String, of id: KeyVersionID? = nil
  ) throws(CallFailure) -> [(handle: UInt, record: TokenRecord)] {
    var found: [(handle: UInt, record: TokenRecord)] = []
    guard profile.keepsData else {
      for handle in try find(TokenRecord.keys) {
        guard let label = try attributesIfThere(of: handle, [.label])?[0],
          let record = TokenRecord(kind, keyLabel: label), id == nil || record.id == id
        else { continue }
        found.append((handle, record))
      }
      return found
    }
    for handle in try find(TokenRecord.dataObjects(kind, of: id)) {
      guard let values = try attributesIfThere(of: handle, [.label, .value]),
        let record = TokenRecord(kind, label: values[0], value: values[1])
      else { continue }
      found.append((handle, record))
    }
    return found
  }

  func create(_ record: TokenRecord) throws(CallFailure) -> UInt {
    guard !profile.keepsData else { return try create(record.dataObject) }
    return try create(record.key, value: SecretBytes.random(count: 16))
  }

  /// Whether there are any, in data objects or in labels.
  func hasRecords(inData: Bool) throws(CallFailure) -> Bool {
    let before = profile
    defer { profile = before }
    profile.keepsData = inData
    for kind in [StateRecord.kind, AdoptionRecord.kind] where try !records(kind).isEmpty { return true }
    return false
  }
}

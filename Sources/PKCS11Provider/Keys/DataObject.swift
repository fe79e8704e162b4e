internal import KMSCore
internal import PKCS11

/// What the suite's records on the token have in common: CKO_DATA, named by a version's id, `name=value` pairs in it.
enum DataObject {
  typealias Attributes = [(AttributeType, Template.Value)]

  /// - Parameter label: the version that it is about; nil for all.
  static func attributes(_ application: [UInt8], label id: KeyVersionID? = nil) -> Attributes {
    [(.objectClass, .number(0)), (.token, .flag(true)), (.application, .bytes(application))]  // CKO_DATA
      + (id.map { [(.label, .bytes(Array($0.description.utf8)))] } ?? [])
  }

  static func content(_ text: String) -> Attributes {
    [(.isPrivate, .flag(true)), (.value, .bytes(Array(text.utf8)))]
  }

  static func id(_ label: [UInt8]?) -> KeyVersionID? {
    label.flatMap { try? KeyVersionID(parsing: String(decoding: $0, as: UTF8.self)) }
  }

  static func fields(_ value: [UInt8]?) -> [Substring: String] {
    var fields: [Substring: String] = [:]
    for field in String(decoding: value ?? [], as: UTF8.self).split(separator: " ") {
      let sides = field.split(separator: "=", maxSplits: 1)
      if sides.count == 2 { fields[sides[0]] = String(sides[1]) }
    }
    return fields
  }
}

internal import KMSCore
internal import PKCS11

/// Says that a key whose id the suite did not make is ours, which key it is a version of, and what for; and of any key
/// that does not wrap by AES Key Wrap, what it wraps by. A small data object beside it, so that every node sees it. A
/// record without a key says nothing.
struct AdoptionRecord {
  let id: KeyVersionID
  let key: KeyName
  let purpose: KeyPurpose
  let algorithm: WrapAlgorithm

  private static let application = Array("strongroom-adopted".utf8)

  static let all = Template(DataObject.attributes(application))

  static func named(_ id: KeyVersionID) -> Template { Template(DataObject.attributes(application, label: id)) }

  var template: Template {
    Template(
      DataObject.attributes(Self.application, label: id)
        + DataObject.content("key=\(key) purpose=\(purpose.rawValue) algorithm=\(algorithm.rawValue)"))
  }

  init(_ request: NewKeyVersion, _ algorithm: WrapAlgorithm = .a256KW) {
    self.algorithm = algorithm
    id = request.id
    key = request.key
    purpose = request.purpose
  }

  /// From CKA_LABEL and CKA_VALUE; nil for somebody else's object.
  init?(label: [UInt8]?, value: [UInt8]?) {
    let fields = DataObject.fields(value)
    guard let id = DataObject.id(label), let key = fields["key"].flatMap({ try? KeyName($0) }),
      let purpose = fields["purpose"].flatMap({ KeyPurpose(rawValue: $0) })
    else { return nil }
    self.id = id
    self.key = key
    self.purpose = purpose
    algorithm = fields["algorithm"].flatMap { Int($0) }.map { WrapAlgorithm(rawValue: $0) } ?? .a256KW
  }
}

extension Session {
  /// Where two nodes adopted one key at once under two names, every node picks the same.
  func adoptions() throws(CallFailure) -> [KeyVersionID: AdoptionRecord] {
    var records: [KeyVersionID: AdoptionRecord] = [:]
    for handle in try find(AdoptionRecord.all) {
      let values = try attributes(of: handle, [.label, .value])
      guard let record = AdoptionRecord(label: values[0], value: values[1]) else { continue }
      if let other = records[record.id], other.key < record.key { continue }
      records[record.id] = record
    }
    return records
  }
}

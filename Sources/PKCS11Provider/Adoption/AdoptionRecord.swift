internal import KMSCore
internal import PKCS11

/// Says that a key whose id the suite did not make is ours, which key it is a version of, and what for; and of any key
/// that does not wrap by AES Key Wrap, what it wraps by. Without a key it says nothing.
struct AdoptionRecord {
  let id: KeyVersionID
  let key: KeyName
  let purpose: KeyPurpose
  let algorithm: WrapAlgorithm

  static let kind = "strongroom-adopted"

  var record: TokenRecord {
    TokenRecord(
      kind: Self.kind, id: id, text: "key=\(key) purpose=\(purpose.rawValue) algorithm=\(algorithm.rawValue)")
  }

  init(_ request: NewKeyVersion, _ algorithm: WrapAlgorithm = .a256KW) {
    self.algorithm = algorithm
    id = request.id
    key = request.key
    purpose = request.purpose
  }

  /// Nil for somebody else's.
  init?(_ record: TokenRecord) {
    let fields = record.fields
    guard let key = fields["key"].flatMap({ try? KeyName($0) }),
      let purpose = fields["purpose"].flatMap({ KeyPurpose(rawValue: $0) })
    else { return nil }
    id = record.id
    self.key = key
    self.purpose = purpose
    algorithm = fields["algorithm"].flatMap { Int($0) }.map { WrapAlgorithm(rawValue: $0) } ?? .a256KW
  }
}

extension Session {
  /// Where two nodes adopted one key at once under two names, every node picks the same.
  func adoptions(of id: KeyVersionID? = nil) throws(CallFailure) -> [KeyVersionID: AdoptionRecord] {
    var records: [KeyVersionID: AdoptionRecord] = [:]
    for (_, found) in try self.records(AdoptionRecord.kind, of: id) {
      guard let record = AdoptionRecord(found) else { continue }
      if let other = records[record.id], other.key < record.key { continue }
      records[record.id] = record
    }
    return records
  }
}

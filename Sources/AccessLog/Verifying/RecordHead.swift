import KMSCore

/// The beginning of a record's line, read without the rest: that is in the tree with every byte.
struct RecordHead {
  let sequence: UInt64
  let timestamp: Timestamp
  let type: AccessEvent.RecordType

  private static let begin = Array(#"{"timestamp":""#.utf8)
  private static let number = Array(#"","sequence":"#.utf8)
  private static let record = Array(#","record":""#.utf8)

  /// Nil for a line that does not begin as ``EventLine`` writes it.
  init?(_ line: ArraySlice<UInt8>) {
    guard line.count > 60, line.starts(with: Self.begin), line.last == 0x7D else { return nil }
    let time = line.startIndex + Self.begin.count
    var at = time + 30
    guard line[at...].starts(with: Self.number),
      let timestamp = Timestamp(rfc3339: String(decoding: line[time..<at], as: UTF8.self))
    else { return nil }
    at += Self.number.count
    let digits = line[at...].prefix { (0x30...0x39).contains($0) }
    guard !digits.isEmpty, digits.count < 20 else { return nil }
    sequence = digits.reduce(UInt64(0)) { $0 &* 10 &+ UInt64($1 - 0x30) }
    guard sequence <= MerkleFrontier.largestSize else { return nil }
    self.timestamp = timestamp
    let rest = line[digits.endIndex...]
    if rest.starts(with: Self.record) {
      let word = rest.dropFirst(Self.record.count).prefix { $0 != 0x22 }
      type = AccessEvent.RecordType(rawValue: String(decoding: word, as: UTF8.self))
    } else {
      type = .access
    }
  }
}

import KMSCore

/// Tells lines that a filter lets through from most that it does not, without reading them as JSON: what is asked for
/// stands in a line exactly as ``EventLine`` writes it.
struct LinePrefilter: Sendable {
  private var texts: [[UInt8]] = []
  private let since: [UInt8]?
  private let until: [UInt8]?

  private static let begin = Array(#"{"timestamp":""#.utf8)
  private static let timeLength = 30

  init(_ filter: AccessFilter) {
    func field(_ name: String, _ text: String?) -> [UInt8]? {
      guard let text else { return nil }
      var bytes = Array("\"\(name)\":".utf8)
      bytes.append(jsonString: text, limit: EventLine.textLimit)
      return bytes
    }
    // The rarest first.
    texts += [field("key_id", filter.key), field("accessed_by", filter.principal)].compactMap { $0 }
    texts += [field("operation", filter.operation?.rawValue)].compactMap { $0 }
    if let outcome = filter.outcome { texts.append(Array("\"success\":\(outcome == .success)".utf8)) }
    since = filter.since.map { Array($0.rfc3339) }
    until = filter.until.map { Array($0.rfc3339) }
  }

  var restricts: Bool { !texts.isEmpty || since != nil || until != nil }

  /// True for a line that is worth reading: it may match, or may be no record at all.
  func isWorthReading(_ line: ArraySlice<UInt8>) -> Bool {
    let end = line.startIndex + Self.begin.count + Self.timeLength
    guard line.endIndex > end, line.starts(with: Self.begin), line.last == 0x7D else { return true }
    let time = line[(end - Self.timeLength)..<end]
    if let since, time.lexicographicallyPrecedes(since) { return false }
    if let until, !time.lexicographicallyPrecedes(until) { return false }
    return texts.allSatisfy { contains(line, $0) }
  }
}

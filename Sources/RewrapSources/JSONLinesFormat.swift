internal import FoundationEssentials
internal import KMSCore

/// JSON Lines: one object a line, envelopes in members of the object itself.
struct JSONLinesFormat: TableFormat {
  private let columns: TableColumns

  init(_ columns: TableColumns) { self.columns = columns }

  let recordName = "line"

  mutating func readHeader(_ bytes: ArraySlice<UInt8>, isAll: Bool) throws -> Int? { 0 }

  func recordLength(_ bytes: ArraySlice<UInt8>, isAll: Bool) -> Int? {
    if let end = bytes.firstIndex(of: 0x0A) { return end - bytes.startIndex + 1 }
    return isAll ? bytes.count : nil
  }

  func values(in record: [UInt8]) throws -> [TableValue] {
    guard !record.allSatisfy({ [0x20, 0x09, 0x0A, 0x0D].contains($0) }) else { return [] }
    var scanner = JSONMembers(record)
    guard let members = scanner.members() else {
      throw KMSError(.invalidInput, "it is no JSON object", advice: "Each line must hold one JSON object (RFC 8259).")
    }
    let row = columns.rowKey.flatMap { key in
      members.last { $0.name == key }.map { member in
        let text = record[member.range]
        return (member.isString ? unescaped(text) : nil) ?? String(decoding: text, as: UTF8.self)
      }
    }
    let isNull = { (member: JSONMembers.Member) in !member.isString && record[member.range] == Self.null[...] }
    return members.filter { columns.columns.contains($0.name) && !$0.range.isEmpty && !isNull($0) }.map { member in
      // Writers escape `/`, and some `+`, too.
      let text = member.isString ? unescaped(record[member.range]).map { Array($0.utf8) } : nil
      return TableValue(column: member.name, range: member.range, text: text, row: row)
    }
  }

  private static let null = Array("null".utf8)
}

/// What stands between the quotes of a JSON string; nil when it is none.
private func unescaped(_ text: ArraySlice<UInt8>) -> String? {
  guard text.contains(0x5C) else { return String(decoding: text, as: UTF8.self) }
  return try? JSONDecoder().decode(String.self, from: Data([0x22] + text + [0x22]))
}

/// Where the members of a JSON object's top level stand.
private struct JSONMembers {
  struct Member {
    let name: String
    /// Of the value; without its quotes for a string.
    let range: Range<Int>
    let isString: Bool
  }

  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func members() -> [Member]? {
    guard take(0x7B) else { return nil }
    var members: [Member] = []
    if take(0x7D) { return isAtEnd() ? members : nil }
    repeat {
      guard let range = string(), let name = unescaped(bytes[range]), take(0x3A), let value = value(depth: 0)
      else { return nil }
      members.append(Member(name: name, range: value.range, isString: value.isString))
    } while take(0x2C)
    return take(0x7D) && isAtEnd() ? members : nil
  }

  private mutating func skipSpace() {
    while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) { position += 1 }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    skipSpace()
    guard position < bytes.count, bytes[position] == byte else { return false }
    position += 1
    return true
  }

  private mutating func isAtEnd() -> Bool {
    skipSpace()
    return position == bytes.count
  }

  /// The bytes between the quotes.
  private mutating func string() -> Range<Int>? {
    guard take(0x22) else { return nil }
    let start = position
    while position < bytes.count, bytes[position] != 0x22 { position += bytes[position] == 0x5C ? 2 : 1 }
    guard position < bytes.count else { return nil }
    position += 1
    return start..<position - 1
  }

  private mutating func value(depth: Int) -> (range: Range<Int>, isString: Bool)? {
    skipSpace()
    guard position < bytes.count, depth < 64 else { return nil }
    let start = position
    switch bytes[position] {
    case 0x22: return string().map { ($0, true) }
    case 0x7B, 0x5B:
      let (isObject, end): (Bool, UInt8) = bytes[position] == 0x7B ? (true, 0x7D) : (false, 0x5D)
      position += 1
      if !take(end) {
        repeat {
          if isObject { guard string() != nil, take(0x3A) else { return nil } }
          guard value(depth: depth + 1) != nil else { return nil }
        } while take(0x2C)
        guard take(end) else { return nil }
      }
    default:
      // A number or a literal; whoever reads the table looks at it, here it only has to end.
      while position < bytes.count, ![0x2C, 0x7D, 0x5D, 0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) {
        position += 1
      }
      guard position > start else { return nil }
    }
    return (start..<position, false)
  }
}

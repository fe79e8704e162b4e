internal import KMSCore

/// One field of an RFC 4180 table, with what is needed to write it back byte for byte.
package struct CSVField {
  /// Without quotes, and doubled quotes as one.
  package private(set) var value: [UInt8]
  package private(set) var isQuoted: Bool
  /// What ended it: a comma, a line end, or nothing at the end of the file.
  package let terminator: [UInt8]

  /// Puts another value here, in quotes where it needs them; those that are there stay.
  package mutating func replace(with new: [UInt8]) {
    value = new
    isQuoted = isQuoted || new.contains { [0x22, 0x2C, 0x0A, 0x0D].contains($0) }
  }

  package var endsRow: Bool { terminator != [0x2C] }

  package var encoded: [UInt8] {
    guard isQuoted else { return value + terminator }
    return [0x22] + value.flatMap { $0 == 0x22 ? [0x22, 0x22] : [$0] } + [0x22] + terminator
  }
}

/// Reads rows of a table so that untouched fields are written back as they were.
package struct CSVRows {
  private let bytes: [UInt8]
  private let isOneRecord: Bool
  private var position = 0
  package private(set) var line = 1

  /// - Parameter isOneRecord: the caller says which row of the table it is.
  package init(_ bytes: [UInt8], isOneRecord: Bool = false) {
    self.bytes = bytes
    self.isOneRecord = isOneRecord
  }

  /// The next row; nil at the end.
  package mutating func next() throws -> [CSVField]? {
    guard position < bytes.count else { return nil }
    var row: [CSVField] = []
    repeat { row.append(try field()) } while !(row.last?.endsRow ?? true)
    line += 1
    return row
  }

  private mutating func field() throws -> CSVField {
    guard position < bytes.count, bytes[position] == 0x22 else {
      let start = position
      while position < bytes.count, bytes[position] != 0x2C, !isLineEnd { position += 1 }
      return CSVField(value: Array(bytes[start..<position]), isQuoted: false, terminator: terminator())
    }
    position += 1
    var value: [UInt8] = []
    while true {
      guard position < bytes.count else { throw malformed("a quoted field is not closed") }
      let byte = bytes[position]
      position += 1
      if byte != 0x22 {
        value.append(byte)
      } else if position < bytes.count, bytes[position] == 0x22 {
        value.append(byte)
        position += 1
      } else {
        break
      }
    }
    guard position == bytes.count || bytes[position] == 0x2C || isLineEnd else {
      throw malformed("there is text after a closing quote")
    }
    return CSVField(value: value, isQuoted: true, terminator: terminator())
  }

  private var isLineEnd: Bool {
    bytes[position] == 0x0A || (bytes[position] == 0x0D && position + 1 < bytes.count && bytes[position + 1] == 0x0A)
  }

  private mutating func terminator() -> [UInt8] {
    guard position < bytes.count else { return [] }
    let count = bytes[position] == 0x0D ? 2 : 1
    defer { position += count }
    return Array(bytes[position..<position + count])
  }

  private func malformed(_ problem: String) -> KMSError {
    KMSError(
      .invalidInput, isOneRecord ? problem : "row \(line) of the table: \(problem)",
      advice: "The table must be CSV (RFC 4180).")
  }
}

internal import KMSCore

/// CSV with a header (RFC 4180).
struct CSVFormat: TableFormat {
  private let columns: TableColumns
  private var indices: [(name: String, index: Int)] = []
  private var rowIndex: Int?
  private var width = 0

  init(_ columns: TableColumns) { self.columns = columns }

  let recordName = "row"

  mutating func readHeader(_ bytes: ArraySlice<UInt8>, isAll: Bool) throws -> Int? {
    guard let length = recordLength(bytes, isAll: isAll) else { return nil }
    var rows = CSVRows(Array(bytes.prefix(length)))
    guard let header = try rows.next() else {
      throw KMSError(.invalidInput, "the table is empty", advice: "Its first row must name the columns.")
    }
    indices = try columns.columns.map { (name: $0, index: try header.index(of: $0)) }
    rowIndex = try columns.rowKey.map { try header.index(of: $0) }
    width = header.count
    return length
  }

  /// Cuts where ``CSVRows`` does: a quote opens a field only at its beginning.
  func recordLength(_ bytes: ArraySlice<UInt8>, isAll: Bool) -> Int? {
    enum State { case start, plain, quoted, closing }
    var state = State.start
    for position in bytes.indices {
      switch (state, bytes[position]) {
      case (.start, 0x22), (.closing, 0x22): state = .quoted
      case (.quoted, 0x22): state = .closing
      case (.quoted, _): break
      case (_, 0x0A): return position - bytes.startIndex + 1
      case (_, 0x2C): state = .start
      default: state = .plain
      }
    }
    return isAll ? bytes.count : nil
  }

  func values(in record: [UInt8]) throws -> [TableValue] {
    guard !record.allSatisfy({ $0 == 0x0A || $0 == 0x0D }) else { return [] }
    var rows = CSVRows(record, isOneRecord: true)
    let fields = try rows.next() ?? []
    guard fields.count == width else {
      throw KMSError(
        .invalidInput, "it has \(fields.count) columns, the header \(width)", advice: "Mend the table.")
    }
    var starts = [0]
    for field in fields { starts.append(starts[starts.count - 1] + field.encoded.count) }
    let row = rowIndex.map { String(decoding: fields[$0].value, as: UTF8.self) }
    return indices.sorted { $0.index < $1.index }.compactMap { name, index in
      let field = fields[index]
      guard !field.value.isEmpty else { return nil }  // never encrypted: an envelope is not empty
      let start = starts[index] + (field.isQuoted ? 1 : 0)
      let isPlain = !field.value.contains(0x22)
      return TableValue(
        column: name, range: start..<start + field.value.count, text: isPlain ? field.value : nil, row: row)
    }
  }
}

extension [CSVField] {
  /// - Throws: ``KMSError/Code/invalidInput`` when the header has no such column, or more than one.
  package func index(of name: String) throws -> Int {
    let names = map { String(decoding: $0.value, as: UTF8.self) }
    guard names.count(where: { $0 == name }) < 2 else {
      throw KMSError(
        .invalidInput, "the table has more than one column '\(name)'", advice: "Give each a name of its own.")
    }
    guard let index = names.firstIndex(of: name) else {
      throw KMSError(
        .invalidInput, "the table has no column '\(name)'", advice: "It has: \(names.joined(separator: ", ")).")
    }
    return index
  }
}

import ArgumentParser
import DurableFiles
import RewrapSources
import Strongroom
import SystemPackage

/// Columns of a CSV table instead of a whole file.
struct TableOptions: ParsableArguments {
  @Option(
    name: .long, help: "Treat the file as a table with a header, and only this column; may be given more than once.")
  var column: [String] = []

  @Option(name: .long, help: "Column that names a row; bound into each value's context as 'row'.")
  var rowKey: String?

  var isUsed: Bool { !column.isEmpty }

  func validate() throws {
    guard Set(column).count == column.count else { throw ValidationError("--column names a column twice.") }
    guard rowKey == nil || isUsed else { throw ValidationError("--row-key needs --column.") }
    guard rowKey.map({ !column.contains($0) }) ?? true else {
      throw ValidationError("--row-key names a column that stays readable; it is among --column.")
    }
  }

  private static let limit = 1 << 30

  /// Puts `change`'s result in place of each value of the columns; every other byte stays as it was.
  func rewrite(
    _ input: String, to destination: FileEndpoint, context: [(name: String, value: String)],
    _ change: (_ value: [UInt8], _ context: EncryptionContext) async throws -> [UInt8]
  ) async throws {
    let bytes =
      try input == "-"
      ? readAll(.standardInput, limit: Self.limit, name: "standard input")
      : readFile(FilePath(input), limit: Self.limit)
    var rows = CSVRows(bytes)
    guard let header = try rows.next() else {
      throw KMSError(.invalidInput, "the table is empty", advice: "Its first row must name the columns.")
    }
    let columns = try column.map { (name: $0, index: try header.index(of: $0)) }
    let row = try rowKey.map { try header.index(of: $0) }
    var output = header.flatMap(\.encoded)
    let bar = ProgressBar("rows", total: bytes.count)
    defer { bar.finish() }
    while var fields = try rows.next() {
      for (name, index) in columns {
        guard fields.count > max(index, row ?? 0) else {
          throw KMSError(
            .invalidInput, "row \(rows.line - 1) has \(fields.count) columns, the header \(header.count)",
            advice: "Mend the table.")
        }
        var pairs = context + [(name: "column", value: name)]
        if let row { pairs.append((name: "row", value: String(decoding: fields[row].value, as: UTF8.self))) }
        fields[index].replace(with: try await change(fields[index].value, EncryptionContext(pairs)))
      }
      output += fields.flatMap(\.encoded)
      bar.add(fields.reduce(0) { $0 + $1.value.count + 1 })
    }
    try destination.write(output)
  }
}

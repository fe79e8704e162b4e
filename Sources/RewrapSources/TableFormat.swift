internal import DataAtRest
package import Envelope
internal import KMSCore

/// How a text file holds records with values in them. A base64 value needs neither quotes nor escapes in CSV or
/// JSON, so a new one is written where the old one stands, and every other byte stays as it was.
protocol TableFormat: Sendable {
  /// Takes what stands before the records; nil when more bytes are needed.
  mutating func readHeader(_ bytes: ArraySlice<UInt8>, isAll: Bool) throws -> Int?

  /// Length of the record that `bytes` begin with; nil when more bytes are needed to tell.
  func recordLength(_ bytes: ArraySlice<UInt8>, isAll: Bool) -> Int?

  /// The values in a record.
  ///
  /// - Throws: why the record cannot be read.
  func values(in record: [UInt8]) throws -> [TableValue]

  /// What a record is called: `row` or `line`.
  var recordName: String { get }
}

/// A value in a record.
struct TableValue {
  let column: String
  /// Where its text stands in the record.
  let range: Range<Int>
  /// Its text without escapes; nil when it can be no base64.
  let text: [UInt8]?
  /// What names the row, where a column was given for that.
  let row: String?
}

/// Which columns or members hold envelopes, and what is bound to them.
public struct TableColumns: Sendable {
  /// Their names.
  public let columns: [String]
  /// The column whose value is bound into each context as `row`.
  public let rowKey: String?
  /// Pairs of every value's context, besides `column` and `row`.
  public let context: [(name: String, value: String)]

  /// See the properties.
  public init(_ columns: [String], rowKey: String? = nil, context: [(name: String, value: String)] = []) {
    self.columns = columns.enumerated().filter { !columns[..<$0.offset].contains($0.element) }.map(\.element)
    self.rowKey = rowKey
    self.context = context
  }

  /// The context of one value, as `strongroom encrypt --column` makes it.
  package func context(column: String, row: String?) throws -> EncryptionContext {
    try EncryptionContext(
      context + [(name: "column", value: column)] + (row.map { [(name: "row", value: $0)] } ?? []))
  }
}

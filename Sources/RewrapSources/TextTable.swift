public import DataAtRest
internal import DurableFiles
internal import Envelope
public import KMSCore
public import SystemPackage

/// A CSV or JSON Lines file with base64 envelopes in it, as a source.
///
/// It is read as a stream. The new file takes the old one's place in one step when all of it is written, so a run
/// that is killed leaves the old one.
public struct TextTable: RewrapSource {
  /// What the file is written in.
  public enum Format: String, Sendable, CaseIterable {
    /// RFC 4180, with a header.
    case csv
    /// One object a line.
    case jsonl
  }

  private let path: FilePath
  private let columns: TableColumns
  private let isReadOnly: Bool
  private var format: any TableFormat
  private var reader: ChunkReader?
  private var output: Output?
  private var hasChanges = false
  /// The records of the batches that were given and not replaced yet, the oldest first.
  private var batches: [[Record]] = []
  private var recordNumber = 0

  private static let batchCount = 512
  private static let batchBytes = 8 << 20

  private struct Record {
    let bytes: [UInt8]
    /// Index of each value in the batch, and where it stands.
    var values: [(item: Int, range: Range<Int>)] = []
  }

  /// - Parameter isReadOnly: nothing will be stored, as in a dry run or a census.
  public init(_ path: FilePath, format: Format, columns: TableColumns, isReadOnly: Bool = false) {
    self.path = path
    self.columns = columns
    self.isReadOnly = isReadOnly
    self.format =
      switch format {
      case .csv: CSVFormat(columns)
      case .jsonl: JSONLinesFormat(columns)
      }
  }

  public var fractionDone: Double? { reader?.fractionDone }
  /// Yes: the new file takes the old one's place when it is whole.
  public var appearsAtTheEnd: Bool { true }

  public mutating func nextBatch() async throws -> [StoredEnvelope]? {
    try open()
    var (items, records, size): ([StoredEnvelope], [Record], Int) = ([], [], 0)
    while items.count < Self.batchCount, size < Self.batchBytes,
      let bytes = try reader?.next({ format.recordLength($0, isAll: $1) })
    {
      recordNumber += 1
      size += bytes.count
      var record = Record(bytes: bytes)
      let name = "\(path), \(format.recordName) \(recordNumber)"
      do {
        for value in try format.values(in: bytes) {
          record.values.append((items.count, value.range))
          items.append(item(value, name: name))
        }
      } catch let error as KMSError {
        items.append(StoredEnvelope(name: name, envelope: .failure(error)))
      }
      records.append(record)
      if records.count >= 8 * Self.batchCount { break }  // records without values
    }
    guard !records.isEmpty else { return nil }
    batches.append(records)
    return items
  }

  public mutating func replace(_ new: [Int: [UInt8]]) async throws -> [Int: KMSError] {
    let records = batches.removeFirst()
    guard let output else { return [:] }
    hasChanges = hasChanges || !new.isEmpty
    var bytes: [UInt8] = []
    for record in records {
      var position = 0
      for (item, range) in record.values {
        guard let new = new[item] else { continue }
        bytes += record.bytes[position..<range.lowerBound]
        bytes += Base64.encode(new)
        position = range.upperBound
      }
      bytes += record.bytes[position...]
    }
    try output.write(bytes)
    return [:]
  }

  public mutating func finish() async throws {
    guard hasChanges else { return }
    guard let reader, try reader.isUnchanged() else {
      throw KMSError(
        .fileFailed, "\(path) was changed by somebody else while it was worked on",
        advice: "It was left as it is; run the command again.")
    }
    try output?.commit()
  }

  private func item(_ value: TableValue, name: String) -> StoredEnvelope {
    let name = "\(name), \(value.column)"
    do {
      guard let text = value.text else { throw Base64.invalid() }
      return StoredEnvelope(
        name: name, envelope: .success(try Base64.decode(text)),
        context: try columns.context(column: value.column, row: value.row))
    } catch {
      return StoredEnvelope(
        name: name,
        envelope: .failure(error as? KMSError ?? KMSError(.invalidInput, "the value cannot be read")))
    }
  }

  private mutating func open() throws {
    guard reader == nil else { return }
    var opened = try ChunkReader(path)
    let header = try opened.next { try format.readHeader($0, isAll: $1) }
    if header == nil { _ = try format.readHeader([], isAll: true) }  // says what an empty file lacks
    if !isReadOnly {
      try? AtomicFile.removeLeftovers(in: path.removingLastComponent())  // a folder that cannot be listed will do
      output = try Output(path, replacing: opened.status)
    }
    if let header {
      try output?.write(header)
      recordNumber = header.isEmpty ? 0 : 1
    }
    reader = opened
  }
}

/// The new file until it is committed. A class, as a source is a value that can be copied and this is not.
private final class Output {
  private var file: AtomicFile?
  private let path: FilePath

  init(_ path: FilePath, replacing status: FileStatus) throws {
    self.path = path
    let new = try AtomicFile(path, replacing: true)
    try new.take(ownerOf: status)
    file = consume new
  }

  func write(_ bytes: [UInt8]) throws {
    guard !bytes.isEmpty, let descriptor = file?.descriptor else { return }
    _ = try FileFailure.mapping("write", path) { try descriptor.writeAll(bytes) }
  }

  func commit() throws { try file.take()?.commit() }
}

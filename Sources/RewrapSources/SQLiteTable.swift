#if SQLite
  public import DataAtRest
  internal import Envelope
  internal import FoundationEssentials
  internal import GRDB
  public import KMSCore
  public import SystemPackage

  /// Columns of an SQLite table with envelopes in them, as a source: blobs, or text in base64.
  ///
  /// Rows are read in batches, in order of their rowid. A batch is stored in one transaction, each value only where the
  /// old one is still there, so an application may go on writing, and a run that is killed is finished by the next.
  public struct SQLiteTable: RewrapSource {
    private let path: FilePath
    private let table: String
    private let columns: TableColumns
    private let isReadOnly: Bool
    private var database: DatabaseQueue?
    private var lastRow = Int64.min
    private var largestRow: Int64 = 0
    private var batch: [Cell] = []

    private static let batchCount = 512

    private struct Cell {
      let row: Int64
      let column: String
      let value: DatabaseValue
    }

    /// - Parameters:
    ///   - columns: of which tables' columns hold envelopes; empty (NULL) values are passed over.
    ///   - isReadOnly: nothing will be stored, as in a dry run or a census.
    public init(_ path: FilePath, table: String, columns: TableColumns, isReadOnly: Bool = false) {
      self.path = path
      self.table = table
      self.columns = columns
      self.isReadOnly = isReadOnly
    }

    public var fractionDone: Double? {
      largestRow > 0 ? min(1, max(0, Double(lastRow) / Double(largestRow))) : nil
    }

    public mutating func nextBatch() async throws -> [StoredEnvelope]? {
      let database = try await open()
      let (sql, last, hasKey) = (select, lastRow, columns.rowKey != nil)
      let rows = try await mapping {
        try await database.read { db in
          try Row.fetchAll(db, sql: sql, arguments: [last]).map { row in
            let values = Array(row.databaseValues)
            return (
              row: row[0] as Int64, key: hasKey ? row[1] as String? : nil, values: Array(values[(hasKey ? 2 : 1)...])
            )
          }
        }
      }
      guard let end = rows.last else { return nil }
      lastRow = end.row
      batch = []
      var items: [StoredEnvelope] = []
      for (row, key, values) in rows {
        for (column, value) in zip(columns.columns, values) where !value.isNull {
          let cell = Cell(row: row, column: column, value: value)
          batch.append(cell)
          items.append(item(cell, key: key))
        }
      }
      return items
    }

    public mutating func replace(_ new: [Int: [UInt8]]) async throws -> [Int: KMSError] {
      let database = try await open()
      let (batch, table, path) = (batch, table, path)
      return try await mapping {
        try await database.write { db in
          var refused: [Int: KMSError] = [:]
          for (index, bytes) in new.sorted(by: { $0.key < $1.key }) {
            let cell = batch[index]
            let value: DatabaseValue =
              if case .string = cell.value.storage {
                String(decoding: Base64.encode(bytes), as: UTF8.self).databaseValue
              } else {
                Data(bytes).databaseValue
              }
            let column = Self.quoted(cell.column)
            try db.execute(
              sql: "UPDATE \(Self.quoted(table)) SET \(column) = ? WHERE _rowid_ = ? AND \(column) IS ?",
              arguments: [value, cell.row, cell.value])
            if db.changesCount == 0 {
              refused[index] = KMSError(
                .fileFailed, "the value in \(path) was changed by somebody else while it was worked on",
                advice: "It was left as it is; run the command again.")
            }
          }
          return refused
        }
      }
    }

    public mutating func finish() async throws { try database?.close() }

    private var select: String {
      let selected =
        (columns.rowKey.map { ["CAST(\(Self.quoted($0)) AS TEXT)"] } ?? []) + columns.columns.map(Self.quoted)
      return "SELECT _rowid_, \(selected.joined(separator: ", ")) FROM \(Self.quoted(table)) "
        + "WHERE _rowid_ > ? ORDER BY _rowid_ LIMIT \(Self.batchCount)"
    }

    private func item(_ cell: Cell, key: String?) -> StoredEnvelope {
      let name = "\(path), \(table).\(cell.column), row \(cell.row)"
      do {
        let bytes: [UInt8] =
          switch cell.value.storage {
          case .blob(let data): Array(data)
          case .string(let text): try Base64.decode(Array(text.utf8))
          default:
            throw KMSError(
              .malformedEnvelope, "the value is a number, not an envelope", advice: "Is this column encrypted?")
          }
        return StoredEnvelope(
          name: name, envelope: .success(bytes), context: try columns.context(column: cell.column, row: key))
      } catch {
        return StoredEnvelope(
          name: name, envelope: .failure(error as? KMSError ?? KMSError(.invalidInput, "the value cannot be read")))
      }
    }

    private mutating func open() async throws -> DatabaseQueue {
      if let database { return database }
      var configuration = Configuration()
      configuration.readonly = isReadOnly
      configuration.busyMode = .timeout(10)
      let (path, table, columns) = (path, table, columns)
      let (opened, largest) = try await mapping {
        let opened = try DatabaseQueue(path: path.string, configuration: configuration)
        let largest = try await opened.read { db in
          try Self.check(db, path, table, columns)
          return try Int64.fetchOne(db, sql: "SELECT max(_rowid_) FROM \(Self.quoted(table))") ?? 0
        }
        return (opened, largest)
      }
      (database, largestRow) = (opened, largest)
      return opened
    }

    private static func check(_ db: Database, _ path: FilePath, _ table: String, _ columns: TableColumns) throws {
      guard try db.tableExists(table) else {
        let tables = try String.fetchAll(db, sql: "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        throw KMSError(
          .invalidInput, "\(path) has no table '\(table)'",
          advice: tables.isEmpty ? "It has none at all." : "It has: \(tables.joined(separator: ", ")).")
      }
      let names = try db.columns(in: table).map(\.name)
      for name in columns.columns + (columns.rowKey.map { [$0] } ?? []) where !names.contains(name) {
        throw KMSError(
          .invalidInput, "table \(table) of \(path) has no column '\(name)'",
          advice: "It has: \(names.joined(separator: ", ")).")
      }
      guard (try? db.makeStatement(sql: "SELECT _rowid_ FROM \(quoted(table))")) != nil else {
        throw KMSError(
          .notSupported, "table \(table) of \(path) is WITHOUT ROWID",
          advice: "Write a RewrapSource for it; Sources/RewrapSources/SQLiteTable.swift is an example.")
      }
    }

    private func mapping<Value>(_ body: () async throws -> Value) async throws -> Value {
      do { return try await body() } catch let error as DatabaseError {
        throw KMSError(
          .fileFailed, "SQLite cannot use \(path): \(error.message ?? "\(error.resultCode)")",
          advice: "Transactions that were committed stay; mend the cause and run the command again.",
          cause: "SQLite \(error.extendedResultCode.rawValue)")
      }
    }

    private static func quoted(_ name: String) -> String {
      "\"" + name.replacing("\"", with: "\"\"") + "\""
    }
  }
#endif

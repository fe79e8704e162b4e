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
    /// What the next batch begins with; nil at the end.
    private var nextRow: Int64? = .min
    /// A name of the rowid that is no column's.
    private var rowID = ""
    private let busyTimeout: Double
    private var largestRow: Int64 = 0
    /// Those that were given and not replaced yet, the oldest first.
    private var batches: [[Cell]] = []

    private static let batchCount = 512
    private static let batchBytes = 8 << 20

    private struct Cell {
      let row: Int64
      let column: String
      let value: DatabaseValue
    }

    /// - Parameters:
    ///   - columns: of which tables' columns hold envelopes; empty (NULL) values are passed over.
    ///   - isReadOnly: nothing will be stored, as in a dry run or a census.
    public init(_ path: FilePath, table: String, columns: TableColumns, isReadOnly: Bool = false) {
      self.init(path, table: table, columns: columns, isReadOnly: isReadOnly, busyTimeout: 10)
    }

    /// - Parameter busyTimeout: seconds to wait for others' locks.
    package init(
      _ path: FilePath, table: String, columns: TableColumns, isReadOnly: Bool = false, busyTimeout: Double
    ) {
      self.busyTimeout = busyTimeout
      self.path = path
      self.table = table
      self.columns = columns
      self.isReadOnly = isReadOnly
    }

    public var fractionDone: Double? {
      largestRow > 0 ? min(1, max(0, Double(nextRow ?? .max) / Double(largestRow))) : nil
    }

    public mutating func nextBatch() async throws -> [StoredEnvelope]? {
      let database = try await open()
      guard let first = nextRow else { return nil }
      let (sql, hasKey) = (select, columns.rowKey != nil)
      let rows = try await mapping {
        try await database.read { db in
          var (rows, size): ([(row: Int64, key: String?, values: [DatabaseValue])], Int) = ([], 0)
          let cursor = try Row.fetchCursor(db, sql: sql, arguments: [first])
          while size < Self.batchBytes, let row = try cursor.next() {
            let values = row.databaseValues.dropFirst(hasKey ? 2 : 1)
            size += values.reduce(0) { $0 + $1.size }
            rows.append((row: row[0], key: hasKey ? row[1] : nil, values: Array(values)))
          }
          return rows
        }
      }
      guard let end = rows.last else { return nil }
      nextRow = end.row < .max ? end.row + 1 : nil
      var (batch, items): ([Cell], [StoredEnvelope]) = ([], [])
      for (row, key, values) in rows {
        for (column, value) in zip(columns.columns, values) where !value.isNull {
          let cell = Cell(row: row, column: column, value: value)
          batch.append(cell)
          items.append(item(cell, key: key))
        }
      }
      batches.append(batch)
      return items
    }

    public mutating func replace(_ new: [Int: [UInt8]]) async throws -> [Int: KMSError] {
      let batch = batches.removeFirst()
      guard !new.isEmpty else { return [:] }
      let database = try await open()
      let (table, path, rowID) = (table, path, rowID)
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
            do {
              try db.execute(
                sql: "UPDATE \(Self.quoted(table)) SET \(column) = ? WHERE \(rowID) = ? AND \(column) IS ?",
                arguments: [value, cell.row, cell.value])
            } catch let error as DatabaseError
              where error.resultCode == .SQLITE_CONSTRAINT && db.isInsideTransaction
            {
              // Only this statement was undone.
              refused[index] = Self.failure(error, path)
              continue
            }
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

    public mutating func finish() async throws {
      let database = database
      try await mapping { try database?.close() }
    }

    private var select: String {
      let selected =
        (columns.rowKey.map { ["CAST(\(Self.quoted($0)) AS TEXT)"] } ?? []) + columns.columns.map(Self.quoted)
      return "SELECT \(rowID), \(selected.joined(separator: ", ")) FROM \(Self.quoted(table)) "
        + "WHERE \(rowID) >= ? ORDER BY \(rowID) LIMIT \(Self.batchCount)"
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
      configuration.busyMode = .timeout(busyTimeout)
      // What was told to be rewrapped is on the disk, with its folder: a key version may be destroyed by that.
      configuration.prepareDatabase { db in try db.execute(sql: "PRAGMA synchronous = EXTRA") }
      let (path, table, columns) = (path, table, columns)
      let (opened, name, largest) = try await mapping {
        let opened = try DatabaseQueue(path: path.string, configuration: configuration)
        let (name, largest) = try await opened.read { db in
          let name = try Self.rowID(db, path, table, columns)
          return (name, try Int64.fetchOne(db, sql: "SELECT max(\(name)) FROM \(Self.quoted(table))") ?? 0)
        }
        return (opened, name, largest)
      }
      (database, rowID, largestRow) = (opened, name, largest)
      return opened
    }

    /// The rowid's name, in a table that can be a source.
    private static func rowID(
      _ db: Database, _ path: FilePath, _ table: String, _ columns: TableColumns
    ) throws -> String {
      guard try db.tableExists(table) else {
        let tables = try String.fetchAll(db, sql: "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        throw KMSError(
          .invalidInput, "\(path) has no table '\(table)'",
          advice: tables.isEmpty ? "It has none at all." : "It has: \(tables.joined(separator: ", ")).")
      }
      // GRDB's own `columns(in:)` does not take names with quotes in them.
      let names = try String.fetchAll(db, sql: "SELECT name FROM pragma_table_xinfo(?)", arguments: [table])
      for name in columns.columns + (columns.rowKey.map { [$0] } ?? []) where !names.contains(name) {
        throw KMSError(
          .invalidInput, "table \(table) of \(path) has no column '\(name)'",
          advice: "It has: \(names.joined(separator: ", ")).")
      }
      let taken = Set(names.map { $0.lowercased() })
      guard let name = ["_rowid_", "rowid", "oid"].first(where: { !taken.contains($0) }),
        (try? db.makeStatement(sql: "SELECT \(name) FROM \(quoted(table))")) != nil
      else {
        throw KMSError(
          .notSupported, "table \(table) of \(path) is WITHOUT ROWID",
          advice: "Write a RewrapSource for it; Sources/RewrapSources/SQLiteTable.swift is an example.")
      }
      return name
    }

    private func mapping<Value>(_ body: () async throws -> Value) async throws -> Value {
      do { return try await body() } catch let error as DatabaseError { throw Self.failure(error, path) }
    }

    private static func failure(_ error: DatabaseError, _ path: FilePath) -> KMSError {
      KMSError(
        .fileFailed, "SQLite cannot use \(path): \(error.message ?? "\(error.resultCode)")",
        advice: "Transactions that were committed stay; mend the cause and run the command again.",
        cause: "SQLite \(error.extendedResultCode.rawValue)")
    }

    private static func quoted(_ name: String) -> String {
      "\"" + name.replacing("\"", with: "\"\"") + "\""
    }
  }

  extension DatabaseValue {
    fileprivate var size: Int {
      switch storage {
      case .blob(let data): data.count
      case .string(let text): text.utf8.count
      default: 8
      }
    }
  }
#endif

#if SQLite
  public import DataAtRest
  internal import DurableFiles
  internal import Envelope
  internal import FoundationEssentials
  internal import GRDB
  internal import KMSCore
  public import SystemPackage

  /// DEKs in an SQLite file, which any number of processes on one machine may use at once.
  ///
  /// One table, `dek`: `id` (16 bytes), `partition` (text), `blob` (the key blob). What is added or replaced is on the
  /// disk when the call returns; several blobs are replaced in one transaction.
  public final class SQLiteDEKStore: DEKStore {
    private let path: FilePath
    private let database: DatabaseQueue

    /// `DEKS`, in the file's header: tells a store from other SQLite files.
    private static let applicationID: Int32 = 0x4445_4B53

    /// Opens the file, or makes it.
    ///
    /// - Parameters:
    ///   - mustExist: nothing is made where nothing is.
    ///   - busyTimeout: how long others' locks are waited for.
    /// - Throws: ``KMSError/Code/fileFailed``, ``KMSError/Code/fileNotFound``, and ``KMSError/Code/invalidInput`` for an
    ///   SQLite file of another kind.
    public init(_ path: FilePath, mustExist: Bool = false, busyTimeout: Duration = .seconds(10)) throws {
      self.path = path
      guard !mustExist || FileManager.default.fileExists(atPath: path.string) else {
        throw KMSError(
          .fileNotFound, "there is no DEK store \(path)", advice: "Name the one that the fields were encrypted with.")
      }
      var configuration = Configuration()
      configuration.busyMode = .timeout(Double(busyTimeout.components.seconds))
      // EXTRA syncs the folder, too: the end of a transaction is that its journal has no name there any more.
      configuration.prepareDatabase { db in try db.execute(sql: "PRAGMA synchronous = EXTRA") }
      database = try Self.mapping(path) {
        let database = try DatabaseQueue(path: path.string, configuration: configuration)
        try database.write { db in
          let id = try Int32.fetchOne(db, sql: "PRAGMA application_id") ?? 0
          if id == Self.applicationID { return }
          guard id == 0, try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") == 0 else {
            throw KMSError(
              .invalidInput, "\(path) is an SQLite file, and no DEK store", advice: "Give the store a file of its own.")
          }
          try db.execute(
            sql: """
              CREATE TABLE dek (
                id BLOB NOT NULL PRIMARY KEY CHECK (typeof(id) = 'blob' AND length(id) = 16),
                partition TEXT NOT NULL,
                blob BLOB NOT NULL CHECK (typeof(blob) = 'blob')
              );
              PRAGMA application_id = \(Self.applicationID);
              PRAGMA user_version = 1;
              """)
        }
        return database
      }
    }

    /// Whether the file is a store, by its header.
    public static func isStore(_ path: FilePath) -> Bool {
      guard let descriptor = try? FileDescriptor.open(path, .readOnly) else { return false }
      let header = (try? descriptor.closeAfter { try descriptor.readFully(upTo: 72) }) ?? []
      return header.count == 72 && header.starts(with: "SQLite format 3\0".utf8)
        && header[68...].elementsEqual([0x44, 0x45, 0x4B, 0x53])
    }

    /// Refuses a second one with the same id.
    public func add(_ dek: StoredDEK) async throws {
      try await mapping {
        try await database.write { db in
          try db.execute(
            sql: "INSERT INTO dek (id, partition, blob) VALUES (?, ?, ?)",
            arguments: [Data(dek.id), dek.partition, Data(dek.blob)])
        }
      }
    }

    /// Nil when it is not here.
    public func find(_ id: [UInt8]) async throws -> StoredDEK? {
      try await mapping {
        try await database.read { db in
          try Row.fetchOne(db, sql: "SELECT id, partition, blob FROM dek WHERE id = ?", arguments: [Data(id)])
            .map(StoredDEK.init)
        }
      }
    }

    /// In the order of their ids.
    public func list(after id: [UInt8]?, limit: Int) async throws -> [StoredDEK] {
      try await mapping {
        try await database.read { db in
          try Row.fetchAll(
            db, sql: "SELECT id, partition, blob FROM dek WHERE id > ? ORDER BY id LIMIT ?",
            arguments: [Data(id ?? []), limit]
          ).map(StoredDEK.init)
        }
      }
    }

    /// In one transaction; each for itself.
    public func replace(_ old: [StoredDEK], with new: [[UInt8]]) async throws -> Set<[UInt8]> {
      try await mapping {
        try await database.write { db in
          var refused: Set<[UInt8]> = []
          for (dek, blob) in zip(old, new) {
            try db.execute(
              sql: "UPDATE dek SET blob = ? WHERE id = ? AND partition = ? AND blob = ?",
              arguments: [Data(blob), Data(dek.id), dek.partition, Data(dek.blob)])
            if db.changesCount == 0 { refused.insert(dek.id) }
          }
          return refused
        }
      }
    }

    /// Closes the file. What is asked for later fails.
    public func close() throws { try Self.mapping(path) { try database.close() } }

    private func mapping<Value>(_ body: () async throws -> Value) async throws -> Value {
      do { return try await body() } catch let error as DatabaseError { throw Self.failure(error, path) }
    }

    private static func mapping<Value>(_ path: FilePath, _ body: () throws -> Value) throws -> Value {
      do { return try body() } catch let error as DatabaseError { throw failure(error, path) }
    }

    private static func failure(_ error: DatabaseError, _ path: FilePath) -> KMSError {
      KMSError(
        .fileFailed, "SQLite cannot use the DEK store \(path): \(error.message ?? "\(error.resultCode)")",
        advice: "Mend the cause and try again; what was stored before stays.",
        cause: "SQLite \(error.extendedResultCode.rawValue)")
    }
  }

  extension StoredDEK {
    fileprivate init(_ row: Row) {
      let (id, blob): (Data, Data) = (row[0], row[2])
      self.init(id: Array(id), partition: row[1], blob: Array(blob))
    }
  }
#endif

#if SQLite
  import Foundation
  import GRDB
  import RewrapSources
  import Strongroom
  import SystemPackage
  import Testing

  /// Columns of SQLite tables: what is read, what is stored, and who else may write.
  struct SQLiteTableTests {
    /// A database with what `sql` makes.
    private func withDatabase(
      _ sql: String, _ body: (FilePath, DatabaseQueue) async throws -> Void
    ) async throws {
      try await withFolder { folder in
        let path = folder.appending("shop.db")
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true  // a lock is held from one call to another
        let database = try DatabaseQueue(path: path.string, configuration: configuration)
        try await database.write { try $0.execute(sql: sql) }
        try await body(path, database)
        try database.close()
      }
    }

    private func values(_ database: DatabaseQueue, _ sql: String) async throws -> [DatabaseValue] {
      try await database.read { try DatabaseValue.fetchAll($0, sql: sql) }
    }

    @Test("blobs stay blobs and text stays text; NULL and gaps are passed over; what is neither is told")
    func columnsOfAllTypes() async throws {
      try await withDatabase("CREATE TABLE people (id INTEGER PRIMARY KEY, email, card, note)") { path, database in
        try await database.write { db in
          let rows: [(Int64, (any DatabaseValueConvertible)?, (any DatabaseValueConvertible)?)] = [
            (.min, Data(old("a")), base64(old("b"))), (-5, nil, Data(old("c"))), (7, base64(old("d")), nil),
            (1_000_000, 17, "no base64"), (.max, Data(old("e")), 1.5),
          ]
          for (id, email, card) in rows {
            try db.execute(sql: "INSERT INTO people VALUES (?, ?, ?, 'stays')", arguments: [id, email, card])
          }
        }
        var source = SQLiteTable(path, table: "people", columns: TableColumns(["email", "card"], rowKey: "id"))
        let pass = try await rewrite(&source, new)
        #expect(pass.values == ["a", "b", "c", "d", "e"].map(old))
        #expect(
          pass.failures == [
            "\(path), people.email, row 1000000", "\(path), people.card, row 1000000",
            "\(path), people.card, row \(Int64.max)",
          ])
        #expect(pass.refused.isEmpty)
        let context = try EncryptionContext([(name: "column", value: "card"), (name: "row", value: "-5")])
        #expect(pass.items.first { $0.name.hasSuffix("people.card, row -5") }?.context == context)

        let after = try await values(database, "SELECT email FROM people ORDER BY id")
        #expect(
          after == [
            Data(new(old("a"))).databaseValue, .null, base64(new(old("d"))).databaseValue, 17.databaseValue,
            Data(new(old("e"))).databaseValue,
          ])
        let cards = try await values(database, "SELECT card FROM people ORDER BY id")
        #expect(
          cards == [
            base64(new(old("b"))).databaseValue, Data(new(old("c"))).databaseValue, .null, "no base64".databaseValue,
            1.5.databaseValue,
          ])
        #expect(try await values(database, "SELECT DISTINCT note FROM people") == ["stays".databaseValue])
      }
    }

    @Test("more rows than a batch, in any order, with gaps")
    func manyRows() async throws {
      try await withDatabase("CREATE TABLE t (secret BLOB)") { path, database in
        try await database.write { db in
          for row in (0..<1500).shuffled() where row % 7 != 3 {
            try db.execute(sql: "INSERT INTO t (rowid, secret) VALUES (?, ?)", arguments: [row, Data(old("\(row)"))])
          }
        }
        var source = SQLiteTable(path, table: "t", columns: TableColumns(["secret"]))
        var (batches, fractions): (Int, [Double]) = (0, [])
        while let batch = try await source.nextBatch() {
          batches += 1
          fractions.append(try #require(source.fractionDone))
          var changed: [Int: [UInt8]] = [:]
          for (index, item) in batch.enumerated() { changed[index] = new(try item.envelope.get()) }
          #expect(try await source.replace(changed).isEmpty)
        }
        try await source.finish()
        #expect(batches > 2 && fractions == fractions.sorted() && fractions.last == 1)
        let rows = try await values(database, "SELECT secret FROM t ORDER BY rowid")
        let expected = (0..<1500).filter { $0 % 7 != 3 }.map { Data(new(old("\($0)"))).databaseValue }
        #expect(rows == expected)
      }
    }

    @Test("names with quotes, spaces and what SQL knows; columns that are called like the rowid")
    func names() async throws {
      let sql = """
        CREATE TABLE "select ""x"" -- y" ("from ""z"" !" BLOB, "row 'key'" TEXT, _rowid_ TEXT, rowid TEXT);
        INSERT INTO "select ""x"" -- y" VALUES (x'6f6c642061', 'k', 'r', 's'), (x'6f6c642062', 'l', 'r', 's');
        """
      try await withDatabase(sql) { path, database in
        let name = "select \"x\" -- y"
        var source = SQLiteTable(
          path, table: name, columns: TableColumns(["from \"z\" !"], rowKey: "row 'key'"))
        let pass = try await rewrite(&source, new)
        #expect(pass.values == [old("a"), old("b")] && pass.refused.isEmpty)
        let rows = try await values(database, "SELECT \"from \"\"z\"\" !\" FROM \"select \"\"x\"\" -- y\" ORDER BY oid")
        #expect(rows == [Data(new(old("a"))).databaseValue, Data(new(old("b"))).databaseValue])
        #expect(
          pass.items.map(\.context)
            == (try ["k", "l"].map { row in
              try EncryptionContext([(name: "column", value: "from \"z\" !"), (name: "row", value: row)])
            }))
      }
    }

    @Test(
      "what can be no source is refused, and the error says what there is",
      arguments: [
        ("orders", "secret", KMSError.Code.invalidInput, "It has: odd, people."),
        ("people", "sekret", .invalidInput, "It has: id, secret."),
        ("odd", "secret", .notSupported, "RewrapSource"),
        ("view", "secret", .invalidInput, "It has: odd, people."),
      ])
    func refused(table: String, column: String, code: KMSError.Code, advice: String) async throws {
      let sql = """
        CREATE TABLE people (id INTEGER PRIMARY KEY, secret BLOB);
        CREATE TABLE odd (secret BLOB PRIMARY KEY) WITHOUT ROWID;
        CREATE VIEW view AS SELECT secret FROM people;
        """
      try await withDatabase(sql) { path, _ in
        var source = SQLiteTable(path, table: table, columns: TableColumns([column]))
        let error = try await failure { _ = try await rewrite(&source, new) }
        #expect(error.code == code && error.advice.contains(advice), "\(error)")
      }
    }

    @Test("a value that another connection changed stays as that one left it")
    func compareAndSwap() async throws {
      let sql = """
        CREATE TABLE t (id INTEGER PRIMARY KEY, secret);
        INSERT INTO t VALUES (1, x'6f6c642061'), (2, x'6f6c642062'), (3, x'6f6c642063'), (4, x'6f6c642064');
        """
      try await withDatabase(sql) { path, database in
        var source = SQLiteTable(path, table: "t", columns: TableColumns(["secret"]))
        let pass = try await rewrite(
          &source,
          meanwhile: {
            // Another value, none, another type with the same bytes, and a row that is gone.
            try await database.write { db in
              try db.execute(
                sql: """
                  UPDATE t SET secret = x'00' WHERE id = 1;
                  UPDATE t SET secret = NULL WHERE id = 2;
                  DELETE FROM t WHERE id = 3;
                  """)
            }
          }, new)
        #expect(pass.refused.count == 3 && pass.refused.allSatisfy { $0.code == .fileFailed })
        let rows = try await values(database, "SELECT secret FROM t ORDER BY id")
        #expect(rows == [Data([0]).databaseValue, .null, Data(new(old("d"))).databaseValue])
      }
    }

    @Test("a row that the table's own rules refuse stops no other")
    func constraint() async throws {
      let sql = """
        CREATE TABLE t (id INTEGER PRIMARY KEY, secret, frozen INT CHECK (length(secret) = 5 OR NOT frozen));
        CREATE TRIGGER archived BEFORE UPDATE ON t WHEN old.id = 4 BEGIN SELECT raise(ABORT, 'archived'); END;
        INSERT INTO t VALUES (1, x'6f6c642061', 0), (2, x'6f6c642062', 1), (3, x'6f6c642063', 0), (4, x'6f6c642064', 0);
        """
      try await withDatabase(sql) { path, database in
        var source = SQLiteTable(path, table: "t", columns: TableColumns(["secret"]))
        let pass = try await rewrite(&source, new)
        #expect(pass.refused.count == 2)
        #expect(
          pass.refused.contains { "\($0)".contains("archived") } && pass.refused.contains { "\($0)".contains("CHECK") })
        let rows = try await values(database, "SELECT secret FROM t ORDER BY id")
        #expect(rows == [new(old("a")), old("b"), new(old("c")), old("d")].map { Data($0).databaseValue })
      }
    }

    @Test("a database that somebody keeps locked is an error in bounded time, and stays as it is")
    func locked() async throws {
      try await withDatabase("CREATE TABLE t (secret); INSERT INTO t VALUES (x'6f6c642061')") { path, database in
        for lock in ["EXCLUSIVE", "IMMEDIATE"] {
          var source = SQLiteTable(path, table: "t", columns: TableColumns(["secret"]), busyTimeout: 0.2)
          let start = ContinuousClock.now
          try await database.writeWithoutTransaction { try $0.execute(sql: "BEGIN \(lock)") }
          let error = try await failure { _ = try await rewrite(&source, new) }
          try await database.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
          #expect(
            error.code == .fileFailed && "\(error)".contains("locked") && error.cause?.contains("SQLite 5") == true)
          #expect(ContinuousClock.now - start < .seconds(20))
          #expect(try await values(database, "SELECT secret FROM t") == [Data(old("a")).databaseValue])
          // And when it is free again:
          var again = SQLiteTable(path, table: "t", columns: TableColumns(["secret"]), busyTimeout: 0.2)
          #expect(try await rewrite(&again) { _ in nil }.refused.isEmpty)
        }
      }
    }

    @Test("a source that only reads leaves the file alone, and can read what it may not write")
    func readOnly() async throws {
      try await withFolder { folder in
        let path = folder.appending("shop.db")
        let database = try DatabaseQueue(path: path.string)
        try await database.write { db in
          try db.execute(sql: "CREATE TABLE t (secret); INSERT INTO t VALUES (x'6f6c642061')")
        }
        try database.close()
        let before = try Data(contentsOf: URL(filePath: path.string))
        var source = SQLiteTable(path, table: "t", columns: TableColumns(["secret"]), isReadOnly: true)
        #expect(try await source.nextBatch()?.count == 1)
        // Told to store all the same, SQLite refuses.
        #expect(try await failure { _ = try await source.replace([0: [1]]) }.code == .fileFailed)
        try await source.finish()
        #expect(try Data(contentsOf: URL(filePath: path.string)) == before)
        #expect(try path.neighbours == ["shop.db"])
      }
    }

    @Test("a file that is no database, is damaged, or is not there")
    func noDatabase() async throws {
      try await withFolder { folder in
        let text = folder.appending("a.db")
        try text.write(String(repeating: "no database\n", count: 100))
        let damaged = folder.appending("b.db")
        try damaged.write("SQLite format 3\0" + String(repeating: "x", count: 4080))
        for path in [text, damaged, folder.appending("no/c.db")] {
          var source = SQLiteTable(path, table: "t", columns: TableColumns(["secret"]), busyTimeout: 0.2)
          #expect(try await failure { _ = try await rewrite(&source, new) }.code == .fileFailed, "\(path)")
        }
      }
    }
  }
#endif

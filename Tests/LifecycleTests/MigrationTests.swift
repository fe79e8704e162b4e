#if SQLite
  import Foundation
  import GRDB
  import OpenSSLProvider
  import RewrapSources
  import Strongroom
  import SystemPackage
  import TestSupport
  import Testing

  /// From one provider's keys to another's, and back.
  struct MigrationTests {
    private static let count = 10_000

    @Test(
      "OpenSSL to SoftHSM and back: 10,000 envelopes in SQLite, and either provider can go",
      .enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
    func thereAndBack() async throws {
      let files = TemporaryFolder()
      let token = try SoftHSM.makeToken()
      let keystore = files.path + "/keys.p12"
      func laptop() -> any KMSProvider {
        OpenSSLProvider(
          OpenSSLConfiguration(name: "laptop", keystore: keystore, passphrase: secret("passphrase of it")))
      }
      func manager(_ providers: [any KMSProvider]) throws -> DataAtRestManager {
        try DataAtRestManager(providers: providers, configuration: DataAtRestConfig(), reporter: Reporter())
      }
      let path = FilePath(files.path + "/shop.db")
      let database = try DatabaseQueue(path: path.string)
      defer { try? database.close() }
      try await database.write { try $0.execute(sql: "CREATE TABLE t (id INTEGER PRIMARY KEY, secret BLOB)") }

      let first = try manager([laptop()])
      for name in ["default", "other"] { try await first.createKey(KeyName(name)) }
      let other = try KeyName("other")
      let context = try EncryptionContext([(name: "column", value: "secret")])
      var sealed: [[UInt8]] = []
      for number in 0..<Self.count {
        sealed.append(
          try await first.encrypt(Self.plaintext(number), context: context, key: number % 5 == 0 ? other : nil))
      }
      await first.close()
      let original = sealed
      try await database.write { db in
        for (number, envelope) in original.enumerated() {
          try db.execute(sql: "INSERT INTO t VALUES (?, ?)", arguments: [number, Data(envelope)])
        }
      }

      for (from, to, jobs) in [("laptop", "hsm", 1), ("hsm", "laptop", 2)] {
        let target: any KMSProvider = to == "hsm" ? try token.provider() : laptop()
        let source: any KMSProvider = from == "hsm" ? try token.provider() : laptop()
        let moving = try manager([target, source])
        let made = try await moving.makeMissingKeys(of: from, in: to)
        #expect(made.count == (to == "hsm" ? 2 : 0))  // they are still there when the data comes back
        var table = SQLiteTable(path, table: "t", columns: TableColumns(["secret"]))
        let report = try await moving.rewrap(&table, for: .provider(to, leaving: from), with: BulkOptions(jobs: jobs))
        #expect(report.counts == [Self.count, 0, 0])
        // Nothing is left to do, and nothing needs the old provider.
        var again = SQLiteTable(path, table: "t", columns: TableColumns(["secret"]))
        let rest = try await moving.rewrap(&again, for: .provider(to, leaving: from))
        #expect(rest.counts == [0, Self.count, 0])
        var census = try await moving.beginCensus()
        var counted = SQLiteTable(path, table: "t", columns: TableColumns(["secret"]), isReadOnly: true)
        try await moving.count(&counted, in: &census)
        let needed = census.versions.filter { census.envelopesByVersion[$0.id] != nil }
        #expect(needed.allSatisfy { $0.provider == to } && census.foreign.isEmpty && census.envelopes == Self.count)
        await moving.close()

        let alone = try manager([to == "hsm" ? try token.provider() : laptop()])
        let now = try await database.read { try Data.fetchAll($0, sql: "SELECT secret FROM t ORDER BY id") }
        #expect(now.count == Self.count)
        for (number, envelope) in now.enumerated() {
          let envelope = Array(envelope)
          let opened = try await alone.decrypt(envelope, context: context)
          guard opened == Self.plaintext(number) else {
            Issue.record("envelope \(number) holds something else")
            break
          }
          if number % 97 == 0 {
            let (new, old) = (
              try EncryptMessage(parsing: envelope, as: .field),
              try EncryptMessage(parsing: original[number], as: .field)
            )
            #expect(try new.replacing(recipients: old.recipients) == old)
          }
        }
        await alone.close()
      }
    }

    private static func plaintext(_ number: Int) -> [UInt8] { Array("value \(number)".utf8) }
  }
#endif

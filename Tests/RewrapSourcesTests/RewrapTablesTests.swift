import Foundation
import InMemoryProvider
import KMSTesting
import RewrapSources
import Strongroom
import SystemPackage
import Testing

/// Tables under the real engine.
struct RewrapTablesTests {
  @Test("a log that fails half-way leaves a text file as it was; the next run does all of it", arguments: [1, 4])
  func logFails(jobs: Int) async throws {
    try await withFolder { folder in
      let reporter = RecordingReporter()
      let manager = try DataAtRestManager(
        providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(), reporter: reporter)
      let key = try KeyName("default")
      try await manager.createKey(key)
      let columns = TableColumns(["secret"], rowKey: "id")
      var text = "id,secret\r\n"
      for row in 0..<700 {
        let context = try EncryptionContext([(name: "column", value: "secret"), (name: "row", value: "\(row)")])
        text += "\(row),\"\(base64(try await manager.encrypt("value \(row)", context: context)))\"\r\n"
      }
      text += "700,damaged\r\n"
      let path = folder.appending("t.csv")
      try path.write(text)
      let new = try await manager.rotate(key, reason: "test")

      reporter.fail(from: reporter.events.count + 1600)  // in the second batch
      var source = TextTable(path, format: .csv, columns: columns)
      let error = try await failure { _ = try await manager.rewrap(&source, with: BulkOptions(jobs: jobs)) }
      reporter.fail(from: nil)
      #expect(error.code == .accessLogUnavailable)
      #expect(try path.text == text)

      for counts in [[700, 0, 1], [0, 700, 1]] {
        var source = TextTable(path, format: .csv, columns: columns)
        let report = try await manager.rewrap(&source, with: BulkOptions(jobs: jobs))
        #expect(report.changed == counts[0] && report.unchanged == counts[1])
        #expect(report.failures.map(\.name) == ["\(path), row 702, secret"])
      }
      #expect(try path.neighbours == ["t.csv"])
      var opened = TextTable(path, format: .csv, columns: columns, isReadOnly: true)
      let pass = try await rewrite(&opened) { _ in nil }
      for (row, item) in pass.items.prefix(700).enumerated() {
        let envelope = try item.envelope.get()
        #expect(try await manager.decryptString(envelope, context: item.context) == "value \(row)")
        #expect(try EncryptMessage(parsing: envelope, as: .field).recipients.map(\.kid) == [new.id])
      }
    }
  }
}

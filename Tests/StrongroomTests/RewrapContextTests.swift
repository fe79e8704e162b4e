import Strongroom
import Testing

/// From recipients that open with any context (A256KW) to such that open with one alone (A256GCM): each gets its own.
struct RewrapContextTests {
  private let provider = GatedProvider()

  private func manager(_ cache: CacheLimits? = nil) async throws -> DataAtRestManager {
    let manager = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(cache: cache), reporter: Recorder())
    try await manager.createKey(try key)
    return manager
  }

  private func context(_ row: Int) throws -> EncryptionContext {
    try EncryptionContext([(name: "row", value: "\(row)")])
  }

  @Test("in bulk, where rows share a content key", arguments: [1, 2])
  func bulk(jobs: Int) async throws {
    let manager = try await manager(CacheLimits())
    let contexts = try (0..<40).map { try context($0) }
    var fields: [[UInt8]] = []
    for (row, context) in contexts.enumerated() { fields.append(try await manager.encrypt("\(row)", context: context)) }
    #expect(provider.wraps == 1, "they share one")
    provider.bindsContext = true
    try await manager.rotate(try key, reason: "test")
    let store = ArraySource.Store(fields)
    var source = ArraySource(store)
    source.context = { contexts[$0] }
    #expect(try await manager.rewrap(&source, with: BulkOptions(jobs: jobs)).counts == [40, 0, 0])
    let other = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(), reporter: Recorder())
    for (row, envelope) in store.envelopes.enumerated() {
      #expect(try await other.decryptString(envelope, context: contexts[row]) == "\(row)")
    }
  }

  @Test("with a context that is not the message's nothing is changed")
  func another() async throws {
    let manager = try await manager()
    let field = try await manager.encrypt("1", context: context(1))
    provider.bindsContext = true
    try await manager.rotate(try key, reason: "test")
    for wrong in [EncryptionContext.empty, try context(2)] {
      let error = try await failure { _ = try await manager.rewrap(field, context: wrong) }
      #expect(error.code == .doesNotOpen && "\(error)".contains("context"))
    }
    // Some of them right: the others are left, and listed.
    let store = ArraySource.Store([field, field, try await manager.encrypt("2", context: context(2))])
    var source = ArraySource(store)
    let right = try context(1)
    source.context = { $0 == 1 ? right : .empty }
    let report = try await manager.rewrap(&source)
    #expect(report.counts == [1, 1, 1] && report.failures.map(\.name) == ["0"])
    #expect(store.envelopes[0] == field)
    #expect(try await manager.decryptString(store.envelopes[1], context: right) == "1")
  }
}

import InMemoryProvider
import KMSTesting
import Strongroom
import Testing

/// Rotations that fail half-way: the version before goes on serving, and the log says what happened.
struct RotationFaultTests {
  private func manager() throws -> (DataAtRestManager, FaultInjectingProvider, RecordingReporter) {
    let provider = FaultInjectingProvider(InMemoryProvider(name: "memory"))
    let reporter = RecordingReporter()
    let manager = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(kmsKeyID: "k"), reporter: reporter)
    return (manager, provider, reporter)
  }

  @Test(
    "a fault at any step loses nothing, and the next rotation goes on",
    arguments: [
      AccessEvent.Operation.createVersion, .wrap, .unwrap, .setState,
    ])
  func faults(operation: AccessEvent.Operation) async throws {
    let (manager, provider, reporter) = try manager()
    let key = try KeyName("k")
    let first = try await manager.createKey(key)
    let sealed = try await manager.encrypt("before")

    provider.fail(operation, with: KMSError(.providerFailed, "injected"))
    await #expect(throws: KMSError(.providerFailed, "")) { try await manager.rotate(key, reason: "test") }
    let rotation = try #require(reporter.events.last { $0.operation == .rotate })
    #expect(rotation.errorCode == .providerFailed)
    #expect(rotation.reason == "test")
    provider.fail(operation, with: nil)

    #expect(try await manager.decryptString(sealed) == "before")
    let after = try await manager.encrypt("after")
    #expect(try await manager.decryptString(after) == "after")

    let next = try await manager.rotate(key, reason: "again")
    let versions = try await manager.keyVersions(of: key)
    #expect(versions.filter { $0.state == .active }.map(\.id) == [next.id])
    #expect(versions.contains { $0.id == first.id && $0.state == .deactivated })
    #expect(try await manager.decryptString(after) == "after")
    await manager.close()
  }

  @Test("when the log takes no intent, no key is made")
  func failClosed() async throws {
    let (manager, _, reporter) = try manager()
    try await manager.createKey(KeyName("k"))
    let before = try await manager.keyVersions()
    reporter.fail(from: reporter.events.count)
    await #expect(throws: KMSError(.accessLogUnavailable, "")) {
      try await manager.rotate(KeyName("k"), reason: "test")
    }
    await #expect(throws: KMSError(.accessLogUnavailable, "")) { _ = try await manager.encrypt("x") }
    reporter.fail(from: nil)
    #expect(try await manager.keyVersions() == before)
    await manager.close()
  }
}

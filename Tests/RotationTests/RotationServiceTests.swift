import Foundation
import InMemoryProvider
import KMSTesting
import Logging
import ServiceLifecycle
import Strongroom
import StrongroomService
import Synchronization
import Testing

/// The service in a real ServiceGroup.
@Suite(.timeLimit(.minutes(2)))
struct RotationServiceTests {
  /// Keys as old as the interval, so that real time makes them due.
  private func old(_ name: String) throws -> NewKeyVersion {
    NewKeyVersion(key: try KeyName(name), id: .make(now: Timestamp.now().advanced(by: .seconds(-90_000))))
  }

  private func group(_ manager: DataAtRestManager, _ messages: Messages = Messages()) -> ServiceGroup {
    let logger = Logger(label: "test") { _ in messages }
    let service = RotationService(
      manager: manager, checkInterval: .seconds(1), principal: "night shift", logger: logger)
    return ServiceGroup(services: [service], logger: logger)
  }

  private func wait(until condition: () async throws -> Bool) async throws {
    while try await !condition() { try await Task.sleep(for: .milliseconds(20)) }
  }

  @Test("it rotates what is due, looks again and again, goes on after a failure, and ends when it is asked to")
  func life() async throws {
    let provider = FaultInjectingProvider(InMemoryProvider(name: "memory"))
    let reporter = RecordingReporter()
    let manager = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(kmsKeyID: "a"), reporter: reporter)
    _ = try await provider.createKeyVersion(old("a"))
    let messages = Messages()
    let group = group(manager, messages)
    let running = Task { try await group.run() }
    let (a, b) = (try KeyName("a"), try KeyName("b"))
    try await wait { try await provider.keyVersions(of: a).count == 2 }
    // The provider is gone for some time, and comes back.
    provider.fail(.listVersions, with: KMSError(.providerUnavailable, "unplugged"))
    try await wait {
      reporter.events.contains { $0.operation == .listVersions && $0.errorCode == .providerUnavailable }
    }
    provider.fail(.listVersions, with: nil)
    _ = try await provider.createKeyVersion(old("b"))
    try await wait { try await provider.keyVersions(of: b).count == 2 }

    let start = ContinuousClock.now
    await group.triggerGracefulShutdown()
    try await running.value
    #expect(ContinuousClock.now - start < .seconds(30))
    let rotations = reporter.events.filter { $0.operation == .rotate && $0.phase == .outcome }
    #expect(rotations.map(\.key) == [a, b])
    #expect(rotations.allSatisfy { $0.access.principal == "night shift" && $0.reason == "scheduled" && $0.success })
    // Its own messages, and no record of the access log, go to the application's logger.
    let own = messages.all.filter { !$0.contains("ServiceLifecycle") }
    #expect(own.filter { $0.hasPrefix("info rotated") }.count == 2)
    #expect(own.contains { $0.hasPrefix("error keys could not be looked at for rotation") && $0.contains("unplugged") })
    #expect(own.allSatisfy { !$0.contains("night shift") && !$0.contains("duration") }, "\(own)")
    // The manager is the application's: it still serves.
    let sealed = try await manager.encrypt("after")
    #expect(try await manager.decryptString(sealed) == "after")
    await manager.close()
  }

  @Test("shutdown in the middle of a rotation: that one is finished, the next key is left for another time")
  func shutdownInTheMiddle() async throws {
    let provider = InMemoryProvider(name: "memory")
    let reporter = Gate()
    let manager = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(kmsKeyID: "a"), reporter: reporter)
    for name in ["a", "b"] { _ = try await provider.createKeyVersion(old(name)) }
    let group = group(manager)
    let running = Task { try await group.run() }
    await reporter.arrival()
    await group.triggerGracefulShutdown()
    try await running.value
    #expect(try await provider.keyVersions(of: KeyName("a")).map(\.state) == [.deactivated, .active])
    #expect(try await provider.keyVersions(of: KeyName("b")).map(\.state) == [.active])
    await manager.close()
  }
}

/// Holds the first new version's outcome back until the service is asked to end.
private final class Gate: AccessReporter {
  private let arrived = AsyncStream<Void>.makeStream()
  private let isFirst = Atomic(true)

  func arrival() async { for await _ in arrived.stream { return } }

  func report(_ event: AccessEvent) async throws {
    guard event.operation == .createVersion, event.phase == .outcome,
      isFirst.exchange(false, ordering: .relaxed)
    else { return }
    arrived.continuation.yield()
    while !Task.isShuttingDownGracefully { try await Task.sleep(for: .milliseconds(1)) }
  }
}

/// What is said to a logger.
private struct Messages: LogHandler {
  private final class Store: Sendable { let lines = Mutex<[String]>([]) }
  private let store = Store()
  var all: [String] { store.lines.withLock { $0 } }
  var metadata = Logger.Metadata()
  var logLevel = Logger.Level.debug
  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let line = "\(event.level) \(event.message) \(event.metadata ?? [:]) \(event.source)"
    store.lines.withLock { $0.append(line) }
  }
}

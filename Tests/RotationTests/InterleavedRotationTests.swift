import InMemoryProvider
import KMSTesting
import Strongroom
import Synchronization
import Testing

/// Two managers over one provider, as two processes are: the second rotates wholly between two steps of the first,
/// for every step.
struct InterleavedRotationTests {
  private let key = try! KeyName("k")

  private func manager(_ provider: any KMSProvider, _ reporter: any AccessReporter) throws -> DataAtRestManager {
    try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(kmsKeyID: "k"), reporter: reporter)
  }

  /// Rotates, with `interruption` at the step of that number.
  /// - Returns: the rotation's result, and whether there was such a step.
  private func rotate(
    _ provider: any KMSProvider, at step: Int, _ interruption: @escaping @Sendable () async -> Void
  ) async throws -> (result: Result<KeyVersion, any Error>, happened: Bool) {
    let reporter = InterruptedReporter(at: step, interruption)
    let manager = try manager(provider, reporter)
    let result = await Task { try await manager.rotate(key, reason: "first") }.result
    return (result, reporter.happened)
  }

  @Test("both succeed: one active version, the same for both, and what either encrypted opens")
  func bothSucceed() async throws {
    var step = 0
    while true {
      step += 1
      let provider = InMemoryProvider(name: "memory")
      let other = try manager(provider, RecordingReporter())
      try await other.createKey(key)
      let before = try await other.encrypt("before")
      let second = Mutex<KeyVersion?>(nil)
      let first = try await rotate(provider, at: step) { [key] in
        let version = try? await other.rotate(key, reason: "second")
        second.withLock { $0 = version }
      }
      guard first.happened else { break }
      let active = try await provider.keyVersions(of: key).filter { $0.state == .active }
      #expect(active.count == 1, "step \(step): \(active)")
      #expect(second.withLock { $0 } != nil, "step \(step)")
      #expect(throws: Never.self, "step \(step)") { try first.result.get() }
      for manager in [other, try manager(provider, RecordingReporter())] {
        #expect(try await manager.decryptString(before) == "before")
        let sealed = try await manager.encrypt("after")
        #expect(try EncryptMessage(parsing: sealed, as: .field).recipients.map(\.kid) == [active.first?.id])
      }
    }
    #expect(step > 8)
  }

  @Test("the second's version does not work: it is undone, and the first's serves")
  func secondFails() async throws {
    var step = 0
    while true {
      step += 1
      let provider = InMemoryProvider(name: "memory")
      let broken = FaultInjectingProvider(provider)
      let other = try manager(broken, RecordingReporter())
      try await other.createKey(key)
      let before = try await other.encrypt("before")
      broken.fail(.wrap, with: KMSError(.providerFailed, "injected"))
      let first = try await rotate(provider, at: step) { [key] in
        _ = try? await other.rotate(key, reason: "second")
      }
      guard first.happened else { break }
      let last = try manager(provider, RecordingReporter())
      let active = try await provider.keyVersions(of: key).filter { $0.state == .active }
      #expect(try first.result.get().id == active.first?.id && active.count == 1, "step \(step): \(active)")
      #expect(try await last.decryptString(before) == "before")
      let after = try await last.encrypt("after")
      #expect(try await last.decryptString(after) == "after")
    }
    #expect(step > 8)
  }

  @Test("the first's version does not work: it is undone, whoever deactivated what meanwhile")
  func firstFails() async throws {
    var step = 0
    while true {
      step += 1
      let provider = InMemoryProvider(name: "memory")
      let broken = FaultInjectingProvider(provider)
      let other = try manager(provider, RecordingReporter())
      try await other.createKey(key)
      let before = try await other.encrypt("before")
      broken.fail(.unwrap, with: KMSError(.providerFailed, "injected"))
      let first = try await rotate(broken, at: step) {
        _ = try? await other.rotateDue(now: Timestamp.now().advanced(by: .seconds(86_400)))
      }
      guard first.happened else { break }
      let active = try await provider.keyVersions(of: key).filter { $0.state == .active }
      #expect(active.count == 1, "step \(step): \(active)")
      #expect(try await other.decryptString(before) == "before")
      let after = try await other.encrypt("after")
      #expect(try await other.decryptString(after) == "after")
    }
    #expect(step > 5)
  }
}

/// Runs something of another process' before it takes the event of that number, from 1.
private final class InterruptedReporter: AccessReporter {
  private let step: Int
  private let interruption: @Sendable () async -> Void
  private let count = Atomic(0)

  init(at step: Int, _ interruption: @escaping @Sendable () async -> Void) {
    self.step = step
    self.interruption = interruption
  }

  var happened: Bool { count.load(ordering: .relaxed) >= step }

  func report(_ event: AccessEvent) async throws {
    if count.add(1, ordering: .relaxed).newValue == step { await interruption() }
  }
}

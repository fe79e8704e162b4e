import Envelope
import Foundation
import InMemoryProvider
import KMSTesting
import Strongroom
import Synchronization
import SystemPackage
import Testing

/// Many tasks on one manager, and tasks that are cancelled.
struct ConcurrencyTests {
  @Test("encrypting, decrypting, rotating and rewrapping at the same time lose nothing", .timeLimit(.minutes(5)))
  func manyTasks() async throws {
    try await withFolder { folder in
      let manager = try DataAtRestManager.open(
        configuration(
          "providers: { p: { type: openssl, keystore: keys.p12, passphrase-source: \"env:P\" } }\n", in: folder,
          environment: ["P": "correct horse battery"]))
      try await manager.createKey(try key)
      try await withThrowingTaskGroup { group in
        for task in 0..<40 {
          group.addTask {
            for turn in 0..<10 {
              let context = try EncryptionContext([(name: "row", value: "\(task)-\(turn)")])
              let sealed = try await manager.encrypt("value \(task) \(turn)", context: context)
              let current = try await manager.rewrap(sealed, context: context) ?? sealed
              guard try await manager.decryptString(current, context: context) == "value \(task) \(turn)" else {
                throw NoFailure()
              }
            }
          }
        }
        group.addTask {
          for _ in 0..<3 { try await manager.rotate(try key, reason: "test") }
        }
        try await group.waitForAll()
      }
      let versions = try await manager.keyVersions(of: try key)
      #expect(versions.count == 4)
      #expect(versions.filter { $0.state == .active }.count == 1)
      let report = try await manager.generateTelemetryReport()
      #expect(report.damaged.count == 0)
      await manager.close()
    }
  }

  @Test("one list of keys serves all who need it at the same time")
  func oneList() async throws {
    let recorder = RecordingReporter()
    let manager = try DataAtRestManager(
      providers: [SlowLists(InMemoryProvider(name: "m"))], configuration: DataAtRestConfig(kmsKeyID: "k"),
      reporter: recorder)
    try await manager.createKey(try KeyName("k"))
    let before = recorder.events.count { $0.operation == .listVersions }
    try await withThrowingTaskGroup { group in
      for _ in 0..<16 { group.addTask { _ = try await manager.encrypt("a value") } }
      try await group.waitForAll()
    }
    #expect(recorder.events.count { $0.operation == .listVersions } == before + 1)
  }

  @Test("another node rotates just before: encrypting and rewrapping take the newer version")
  func rotatedElsewhere() async throws {
    try await withFolder { folder in
      func node() throws -> DataAtRestManager {
        try DataAtRestManager.open(
          configuration(
            "providers: { p: { type: openssl, keystore: keys.p12, passphrase-source: \"env:P\" } }\n", in: folder,
            environment: ["P": "correct horse battery"]))
      }
      let (one, other) = (try node(), try node())
      try await one.createKey(try key)
      let sealed = try await one.encrypt("a value")
      try await one.rotate(try key, reason: "test")  // `one` knows this version, and will for seconds
      _ = try await one.rewrap(sealed)
      let newest = try await other.rotate(try key, reason: "test")
      for message in [try #require(try await one.rewrap(sealed)), try await one.encrypt("a value")] {
        #expect(try EncryptMessage(parsing: message, as: .field).recipients.map(\.kid) == [newest.id])
        #expect(try await one.decryptString(message) == "a value")
      }
      await one.close()
      await other.close()
    }
  }

  @Test("a cancelled task gets CancellationError, is logged, and leaves no file")
  func cancellation() async throws {
    try await withFolder { folder in
      let recorder = Recorder()
      let manager = try DataAtRestManager(
        providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(), reporter: recorder)
      try await manager.createKey(try key)
      let (input, output) = (folder.appending("a"), folder.appending("b"))
      try input.write(String(repeating: "0123456789abcdef", count: 1 << 19))  // 8 MiB, 9 segments

      let running = Mutex<Task<Void, any Error>?>(nil)
      let segments = Mutex(0)
      let task = Task {
        try await manager.encryptFile(from: .path(input), to: .path(output)) { _ in
          segments.withLock { $0 += 1 }
          while !running.withLock({ $0?.cancel() != nil }) { usleep(1000) }
        }
      }
      running.withLock { $0 = task }
      await #expect(throws: CancellationError.self) { try await task.value }
      #expect(segments.withLock { $0 } == 1)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.string) == ["a"])
      #expect(recorder.events.last?.operation == .encrypt)
      #expect(recorder.events.last?.errorCode?.rawValue == "cancelled")

      let callsBefore = recorder.events.count
      let early = Task {
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }  // the task is used inside only
        _ = try await manager.encrypt("value")
      }
      await #expect(throws: CancellationError.self) { try await early.value }
      #expect(recorder.events.count == callsBefore + 1)
    }
  }
}

/// A provider whose lists take a moment, in which others ask for them as well.
private struct SlowLists: KMSProvider {
  let base: InMemoryProvider
  var identity: ProviderIdentity { base.identity }

  init(_ base: InMemoryProvider) { self.base = base }

  func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    try await Task.sleep(for: .milliseconds(100))
    return try await base.keyVersions(of: name)
  }

  func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try await base.createKeyVersion(request)
  }

  func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    try await base.setState(state, of: id)
  }

  func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    try await base.wrap(key, under: id, aad: aad)
  }

  func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try await base.unwrap(wrapped, under: id, aad: aad)
  }

  func health() async -> ProviderHealth { await base.health() }
  func close() async { await base.close() }
}

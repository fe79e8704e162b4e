import Strongroom
import Synchronization
import Testing

@testable import DataAtRest

/// Fields under a DEK that a partition shares: what they need, and what they refuse.
struct SharedDEKTests {
  private let provider = GatedProvider()
  private let recorder = Recorder()
  private let clock = HandClock()
  private let store = InMemoryDEKStore()
  private let context = try! EncryptionContext([("row", "1")])  // a good one

  private func manager(_ limits: CacheLimits? = nil, store: (any DEKStore)? = nil) async throws -> DataAtRestManager {
    let manager = try another(limits, store: store ?? self.store)
    if try await manager.keyVersions(of: try key).isEmpty { try await manager.createKey(try key) }
    return manager
  }

  /// A node of its own, on the same provider.
  private func another(_ limits: CacheLimits? = nil, store: (any DEKStore)?) throws -> DataAtRestManager {
    try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(sharedDEKs: limits), reporter: recorder, dekStore: store,
      dataKeys: DataKeys(now: { [clock] in clock.now }))
  }

  private func id(_ message: [UInt8]) throws -> [UInt8] { try Encrypt0Message(parsing: message).keyID }

  @Test("73 bytes for 16; one wrap for a partition, and one unwrap for another node")
  func shared() async throws {
    let manager = try await manager()
    var messages: [[UInt8]] = []
    for i in 0..<10 {
      messages.append(try await manager.encrypt("16 bytes, no. \(i)!", context: context, partition: "a"))
    }
    #expect(messages.allSatisfy { $0.count == 73 })
    #expect(try Set(messages.map(id)).count == 1 && provider.wraps == 1)
    let other = try another(store: store)
    for (i, message) in messages.enumerated() {
      #expect(try await other.decryptString(message, context: context) == "16 bytes, no. \(i)!")
    }
    #expect(provider.unwraps == 1)
    // It never encrypts under a DEK that another made.
    #expect(try await id(other.encrypt("x", partition: "a")) != id(messages[0]))
    #expect(try await id(manager.encrypt("x", partition: "b")) != id(messages[0]))
    let events = recorder.events.filter { $0.operation == .encrypt }
    #expect(events.prefix(10).map(\.cached) == [false] + [Bool](repeating: true, count: 9))
    #expect(try events.allSatisfy { try $0.key == key && $0.version != nil && $0.provider != nil })
  }

  @Test("a DEK ends with its messages, its bytes, or its time")
  func budgets() async throws {
    let limits = try CacheLimits(maxAge: .seconds(60), maxMessages: 3, maxBytes: 10)
    let manager = try await manager(limits)
    var ids: [[UInt8]] = []
    for text in ["1", "2", "3", "4"] { ids.append(try id(await manager.encrypt(text, partition: "a"))) }
    #expect(ids[0] == ids[2] && ids[3] != ids[2])
    ids.append(try id(await manager.encrypt("123456789", partition: "a")))  // ten bytes with the one before
    ids.append(try id(await manager.encrypt("x", partition: "a")))
    #expect(ids[4] == ids[3] && ids[5] != ids[4])
    clock.advance(by: .seconds(59))
    #expect(try id(await manager.encrypt("y", partition: "a")) == ids[5])
    clock.advance(by: .seconds(1))
    #expect(try id(await manager.encrypt("z", partition: "a")) != ids[5])
    await #expect(throws: KMSError(.limitExceeded, "")) { try await manager.encrypt("12345678901", partition: "a") }
  }

  @Test("a rotation: new fields under a new DEK, and a rewrap of the DEKs opens the old ones")
  func rotation() async throws {
    let manager = try await manager()
    var messages: [[UInt8]] = []
    for partition in ["a", "b", "c"] {
      messages.append(try await manager.encrypt("value", context: context, partition: partition))
    }
    let before = try await store.list(after: nil, limit: 10)
    let new = try await manager.rotate(try key, reason: "test")
    #expect(try await id(manager.encrypt("value", partition: "a")) != id(messages[0]))
    var source = DEKStoreSource(store)
    let report = try await manager.rewrap(&source)
    #expect(report.changed == 3 && report.unchanged == 1 && report.failures.isEmpty)
    let after = try await store.list(after: nil, limit: 10)
    #expect(before.allSatisfy { old in after.contains { $0.id == old.id && $0.blob != old.blob } })
    var census = try await manager.beginCensus()
    source = DEKStoreSource(store)
    try await manager.count(&source, in: &census)
    #expect(census.envelopesByVersion == [new.id: 4] && census.failures.isEmpty)
    let other = try another(store: store)
    for message in messages { #expect(try await other.decryptString(message, context: context) == "value") }
  }

  @Test("a DEK that was opened under a compromised version is opened anew once it was rewrapped")
  func compromised() async throws {
    let manager = try await manager()
    let old = try #require(try await manager.keyVersions().first)
    let message = try await manager.encrypt("value", context: context, partition: "a")
    try await manager.setState(.compromised, of: old.id, reason: "test")
    let other = try another(store: store)
    await #expect(throws: KMSError(.keyStateForbids, "")) { try await other.decrypt(message, context: context) }
    #expect(try await other.decrypt(message, context: context, allowCompromised: true).count == 5)
    await #expect(throws: KMSError(.keyStateForbids, "")) { try await other.decrypt(message, context: context) }
    try await manager.rotate(try key, reason: "test")
    var source = DEKStoreSource(store)
    #expect(try await manager.rewrap(&source).changed == 1)
    for _ in 0..<2 { #expect(try await other.decryptString(message, context: context) == "value") }
  }

  @Test("rewrapped also where a token binds each wrapped key to its context")
  func bound() async throws {
    provider.bindsContext = true
    let manager = try await manager()
    let message = try await manager.encrypt("value", context: context, partition: "a")
    try await manager.rotate(try key, reason: "test")
    var source = DEKStoreSource(store)
    #expect(try await manager.rewrap(&source).changed == 1)
    #expect(try await another(store: store).decryptString(message, context: context) == "value")
  }

  @Test("another context, a changed message, a lost DEK, another's blob, no store: each by its name")
  func refused() async throws {
    let manager = try await manager()
    let message = try await manager.encrypt("value", context: context, partition: "a")
    let second = try await manager.encrypt("value", context: context, partition: "b")
    await #expect(throws: KMSError(.doesNotOpen, "")) { try await manager.decrypt(message) }
    var changed = message
    changed[changed.count - 1] ^= 1
    await #expect(throws: KMSError(.doesNotOpen, "")) { try await manager.decrypt(changed, context: context) }

    let lost = try another(store: InMemoryDEKStore())
    var error = try await failure { _ = try await lost.decrypt(message, context: context) }
    #expect(error.code == .notOurs && error.message.contains("DEK"))
    error = try await failure { _ = try await another(store: nil).decrypt(message, context: context) }
    #expect(error.code == .notOurs)
    error = try await failure { _ = try await another(store: nil).encrypt("x", partition: "a") }
    #expect(error.code == .configurationInvalid)

    // The blobs change places, and then the partitions with them: neither opens anything.
    let deks = [try #require(try await store.find(id(message))), try #require(try await store.find(id(second)))]
    for isWithPartition in [false, true] {
      let swapped = InMemoryDEKStore()
      for (dek, other) in zip(deks, deks.reversed()) {
        try await swapped.add(
          StoredDEK(id: dek.id, partition: isWithPartition ? other.partition : dek.partition, blob: other.blob))
      }
      await #expect(throws: KMSError(.doesNotOpen, "")) {
        try await another(store: swapped).decrypt(message, context: context)
      }
    }
    for partition in ["", String(repeating: "x", count: 256)] {
      await #expect(throws: KMSError(.invalidInput, "")) { try await manager.encrypt("x", partition: partition) }
    }
  }

  @Test("nothing is given out under a DEK that could not be stored, and the next call tries anew")
  func storeFails() async throws {
    let failing = FailingStore()
    let manager = try await manager(store: failing)
    failing.fails.withLock { $0 = true }
    await #expect(throws: KMSError(.fileFailed, "")) { try await manager.encrypt("x", partition: "a") }
    failing.fails.withLock { $0 = false }
    let message = try await manager.encrypt("x", partition: "a")
    #expect(try await failing.find(id(message)) != nil)
  }

  @Test("a version that is too old opens no DEK, kept or not")
  func tooOld() async throws {
    let manager = try await manager()
    let message = try await manager.encrypt("value", partition: "a")
    _ = try await manager.decrypt(message)
    let new = try await manager.rotate(try key, reason: "test")
    try await manager.updateConfiguration(DataAtRestConfig(minUnwrapVersion: "\(new.id)"))
    await #expect(throws: KMSError(.keyStateForbids, "")) { try await manager.decrypt(message) }
  }
}

private final class FailingStore: DEKStore {
  let fails = Mutex(false)
  private let base = InMemoryDEKStore()

  func add(_ dek: StoredDEK) async throws {
    if fails.withLock({ $0 }) { throw KMSError(.fileFailed, "the disk is full") }
    try await base.add(dek)
  }
  func find(_ id: [UInt8]) async throws -> StoredDEK? { try await base.find(id) }
  func list(after id: [UInt8]?, limit: Int) async throws -> [StoredDEK] { try await base.list(after: id, limit: limit) }
  func replace(_ old: [StoredDEK], with new: [[UInt8]]) async throws -> Set<[UInt8]> {
    try await base.replace(old, with: new)
  }
}

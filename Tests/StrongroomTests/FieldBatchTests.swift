import AccessLog
import Strongroom
import Testing

@testable import DataAtRest

/// Many fields at once, rows one after the other, and fields that are summed up.
struct FieldBatchTests {
  private let provider = GatedProvider()
  private let recorder = Recorder()
  private let clock = HandClock()

  private func manager(
    _ config: DataAtRestConfig, reporter: (any AccessReporter)? = nil, store: (any DEKStore)? = nil
  ) async throws -> DataAtRestManager {
    let manager = try DataAtRestManager(
      providers: [provider], configuration: config, reporter: reporter ?? recorder, dekStore: store,
      dataKeys: DataKeys(now: { [clock] in clock.now }))
    try await manager.createKey(try key)
    return manager
  }

  private func rows(_ count: Int) throws -> [Field] {
    try (0..<count).map { Field("value \($0)", context: try EncryptionContext([("column", "c"), ("row", "\($0)")])) }
  }

  private func sealed(_ messages: [[UInt8]], _ rows: [Field]) -> [Field] {
    zip(messages, rows).map { Field($0, context: $1.context) }
  }

  @Test("each opens by itself, and all together", arguments: ["cache", "no cache", "shared"])
  func batch(kind: String) async throws {
    let config = try DataAtRestConfig(cache: kind == "cache" ? CacheLimits(maxMessages: 30) : nil)
    let manager = try await manager(config, store: InMemoryDEKStore())
    let rows = try rows(50)
    let messages = try await manager.encrypt(rows, partition: kind == "shared" ? "a" : nil)
    for (message, row) in zip(messages, rows) {
      #expect(try await manager.decrypt(message, context: row.context) == row.bytes)
    }
    #expect(try await manager.decrypt(sealed(messages, rows)) == rows.map(\.bytes))
    #expect(provider.wraps == ["cache": 2, "no cache": 50, "shared": 1][kind])
    let events = recorder.events.filter { $0.operation == .encrypt }
    #expect(events.compactMap(\.count).reduce(0, +) == 50)
    // By version and cache: what met the provider, and what did not.
    #expect(events.count == (kind == "no cache" ? 1 : 2))
    #expect(try events.allSatisfy { try $0.key == key && $0.access.contextNames == ["row", "column"] && $0.success })
    let opened = try #require(recorder.events.last { $0.operation == .decrypt })
    #expect(opened.recordType == .summary && opened.contexts.all.count > 20)
  }

  @Test("one that does not open is named; none is given out, and it is logged")
  func failing() async throws {
    let manager = try await manager(DataAtRestConfig(cache: CacheLimits()))
    let rows = try rows(5)
    var fields = sealed(try await manager.encrypt(rows), rows)
    fields[3].bytes[60] ^= 1
    let error = try await failure { _ = try await manager.decrypt(fields) }
    #expect(error.code == .doesNotOpen && error.message.hasPrefix("field 3: "))
    let event = try #require(recorder.events.last)
    #expect(event.operation == .decrypt && event.errorCode == .doesNotOpen && event.version != nil)
    recorder.refuse { $0.operation == .encrypt }
    await #expect(throws: KMSError(.accessLogUnavailable, "")) { try await manager.encrypt(rows) }
    #expect(try await manager.encrypt([Field]()) == [])
    #expect("\(rows[0]) \(String(reflecting: rows[0]))" == "field of 7 bytes field of 7 bytes")
  }

  @Test("what is known of a field is not told of the next one")
  func eachItsOwn() async throws {
    let manager = try await manager(DataAtRestConfig(cache: CacheLimits(maxBytes: 10)))
    _ = try await manager.encrypt([Field("1"), Field("2"), Field("longer than the cache is for")])
    #expect(provider.wraps == 2)
    let uncached = recorder.events.filter { $0.operation == .encrypt && !$0.cached }
    #expect(uncached.map { $0.count ?? 1 }.reduce(0, +) == 2)

    try await manager.updateConfiguration(DataAtRestConfig())
    var foreign = try await manager.encrypt("x")
    let kid = try #require(try EncryptMessage(parsing: foreign, as: .field).recipients.first?.kid.bytes)
    let place = try #require((0..<foreign.count - 16).first { foreign[$0..<$0 + 16].elementsEqual(kid) })
    foreign[place] ^= 1
    let fields = [Field(try await manager.encrypt("y")), Field(foreign)]
    #expect(try await failure { _ = try await manager.decrypt(fields) }.code == .notOurs)
    let event = try #require(recorder.events.last)
    #expect(event.errorCode == .notOurs && event.key == nil && event.version == nil)
  }

  @Test("a sequence ends with its first failure")
  func sequenceEnds() async throws {
    let manager = try await manager(DataAtRestConfig(cache: CacheLimits()))
    let rows = (0..<1000).map { Field("value \($0)") }
    var messages = try await manager.encrypt(rows)
    messages[3][60] ^= 1
    var iterator = manager.decrypting(messages.map { Field($0) }).makeAsyncIterator()
    await #expect(throws: KMSError(.doesNotOpen, "")) { try await iterator.next() }
    #expect(try await iterator.next() == nil)
    #expect(try await iterator.next() == nil)
  }

  @Test("rows are taken as they are asked for")
  func sequence() async throws {
    let manager = try await manager(DataAtRestConfig(cache: CacheLimits()))
    var taken = 0
    let endless = Swift.sequence(first: 0) { $0 + 1 }.lazy.map { (i: Int) -> Field in
      taken = i
      return Field("value \(i)")
    }
    var messages: [[UInt8]] = []
    for try await message in manager.encrypting(endless) {
      messages.append(message)
      if messages.count == 1000 { break }
    }
    #expect(taken < 1100)
    var i = 0
    for try await plaintext in manager.decrypting(messages.map { Field($0) }) {
      #expect(plaintext == Array("value \(i)".utf8))
      i += 1
    }
    #expect(i == 1000)
    // Long rows make short batches.
    let long = [Field](repeating: Field([UInt8](repeating: 1, count: 600_000)), count: 5)
    let before = recorder.events.count
    for try await _ in manager.encrypting(long) {}
    #expect(recorder.events.dropFirst(before).compactMap(\.count) == [2, 2, 1])
  }

  @Test("summed up, every field is counted once, whichever way it went, and budgets hold")
  func quick() async throws {
    let summing = SummarisingReporter(recorder, interval: .seconds(3600))
    let manager = try await manager(
      DataAtRestConfig(cache: CacheLimits(maxMessages: 100)), reporter: summing, store: InMemoryDEKStore())
    let rows = try rows(10)
    for i in 0..<500 {
      let row = rows[i % 10]
      for partition in [nil, "a"] {
        let message = try await manager.encrypt(row.bytes, context: row.context, partition: partition)
        #expect(try await manager.decrypt(message, context: row.context) == row.bytes)
      }
    }
    await summing.seal()
    let sums = recorder.events.filter { $0.count != nil }
    for operation in [AccessEvent.Operation.encrypt, .decrypt] {
      #expect(sums.filter { $0.operation == operation }.compactMap(\.count).reduce(0, +) == 1000)
    }
    #expect(provider.wraps == 6)  // 500 by 100, and one shared
    #expect(provider.unwraps == 6)
    let error = try await failure { _ = try await manager.decrypt([1, 2, 3]) }
    #expect(error.code == .malformedEnvelope)
  }

  @Test("summed up: who does not open is not counted but logged, and nothing quick outlives a rotation")
  func quickFailures() async throws {
    let summing = SummarisingReporter(recorder, interval: .seconds(3600))
    let manager = try await manager(DataAtRestConfig(cache: CacheLimits()), reporter: summing)
    let row = try rows(1)[0]
    var message: [UInt8] = []
    for _ in 0..<5 { message = try await manager.encrypt(row.bytes, context: row.context) }
    for _ in 0..<5 { _ = try await manager.decrypt(message, context: row.context) }
    for _ in 0..<3 {
      await #expect(throws: KMSError(.doesNotOpen, "")) { try await manager.decrypt(message) }
    }
    #expect(recorder.events.filter { $0.operation == .decrypt && !$0.success }.count == 3)
    let new = try await manager.rotate(try key, reason: "test")
    let next = try await manager.encrypt(row.bytes, context: row.context)
    #expect(try EncryptMessage(parsing: next, as: .field).recipients.first?.kid == new.id)
    // Too old: neither what is kept, nor what is unwrapped.
    try await manager.updateConfiguration(DataAtRestConfig(minUnwrapVersion: "\(new.id)", cache: CacheLimits()))
    await #expect(throws: KMSError(.keyStateForbids, "")) { try await manager.decrypt(message, context: row.context) }
    #expect(try await manager.decrypt(next, context: row.context) == row.bytes)
    clock.advance(by: .seconds(300))
    let wraps = provider.wraps
    _ = try await manager.encrypt(row.bytes, context: row.context)
    #expect(provider.wraps == wraps + 1)
    try await manager.updateConfiguration(DataAtRestConfig(kmsEncryptionEnabled: false, cache: CacheLimits()))
    await #expect(throws: KMSError(.encryptionDisabled, "")) { try await manager.encrypt("x") }
  }
}

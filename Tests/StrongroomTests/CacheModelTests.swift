import InMemoryProvider
import Strongroom
import Synchronization
import Testing

@testable import DataAtRest

/// A clock that stands until it is moved.
final class HandClock: Sendable {
  private let time = Mutex<UInt64>(1_000_000_000_000)
  var now: UInt64 { time.withLock { $0 } }
  func advance(by duration: Duration) { time.withLock { $0 += duration.nanoseconds } }
}

/// How many wraps and unwraps a sequence of operations needs, by a model of the cache that is written for nothing but
/// being plain.
struct CacheModelTests {
  private struct Entry {
    let id: String
    let dek: Int
    var messages = 0
    var bytes = 0
    let expires: Int
  }

  /// What is kept, longest unused first.
  private struct Kept {
    var entries: [Entry] = []

    mutating func use(_ id: String, at time: Int, _ mayUse: (inout Entry) -> Bool = { _ in true }) -> Entry? {
      guard let i = entries.firstIndex(where: { $0.id == id }) else { return nil }
      var entry = entries.remove(at: i)
      guard time < entry.expires, mayUse(&entry) else { return nil }
      entries.append(entry)
      return entry
    }

    mutating func add(_ entry: Entry, limit: Int) {
      entries.append(entry)
      if entries.count > limit { entries.removeFirst() }
    }
  }

  @Test("wraps and unwraps of a random sequence are those of the model", arguments: 1...24)
  func sequence(seed: UInt64) async throws {
    var random = Seeded(state: seed)
    let limits = try CacheLimits(
      maxAge: .seconds(Int.random(in: 1...20, using: &random)), maxMessages: .random(in: 1...6, using: &random),
      maxBytes: .random(in: 1...60, using: &random), maxEntries: .random(in: 1...5, using: &random),
      partition: .allCases.randomElement(using: &random)!)
    let (provider, recorder, clock) = (CountingProvider(), Recorder(), HandClock())
    let manager = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(cache: limits), reporter: recorder, logFolder: nil,
      dataKeys: DataKeys(now: { clock.now }))
    let keys = try ["a", "b", "c"].map { try KeyName($0) }
    for key in keys { try await manager.createKey(key) }
    let contexts = try ["1", "2", "3"].map { try EncryptionContext([("row", $0)]) }
    let maxAge = Int(limits.maxAge.components.seconds)
    var (sealing, opening) = (Kept(), Kept())
    var (time, wraps, unwraps, deks) = (0, 0, 0, 0)
    var messages: [(bytes: [UInt8], dek: Int, context: Int, plain: [UInt8])] = []

    for step in 1...150 {
      let before = recorder.events.count
      var cached: Bool?
      switch Int.random(in: 0..<20, using: &random) {
      case 0..<9:
        let (k, c) = (Int.random(in: 0..<3, using: &random), Int.random(in: 0..<3, using: &random))
        let plain = [UInt8](repeating: UInt8(step), count: .random(in: 0...20, using: &random))
        let id = limits.partition == .key ? "\(k)" : "\(k) \(c)"
        var dek = deks
        if plain.count > limits.maxBytes {
          (wraps, deks, cached) = (wraps + 1, deks + 1, false)
        } else if let entry = sealing.use(
          id, at: time,
          { entry in
            entry.messages += 1
            entry.bytes += plain.count
            return entry.messages <= limits.maxMessages && entry.bytes <= limits.maxBytes
          })
        {
          (dek, cached) = (entry.dek, true)
        } else {
          sealing.add(
            Entry(id: id, dek: deks, messages: 1, bytes: plain.count, expires: time + maxAge), limit: limits.maxEntries)
          (wraps, deks, cached) = (wraps + 1, deks + 1, false)
        }
        let sealed = try await manager.encrypt(plain, context: contexts[c], key: keys[k])
        messages.append((sealed, dek, c, plain))
      case 9..<18:
        guard let message = messages.randomElement(using: &random) else { continue }
        cached = opening.use("\(message.dek)", at: time) != nil
        if cached == false {
          unwraps += 1
          opening.add(
            Entry(id: "\(message.dek)", dek: message.dek, expires: time + maxAge), limit: limits.maxEntries)
        }
        let opened = try await manager.decrypt(message.bytes, context: contexts[message.context])
        #expect(opened == message.plain)
      case 18:
        let seconds = Int.random(in: 0...4, using: &random)
        clock.advance(by: .seconds(seconds))
        time += seconds
      default:
        // A new version is tried by a wrap and an unwrap, and everything is forgotten.
        try await manager.rotate(keys.randomElement(using: &random)!, reason: "test")
        (sealing, opening) = (Kept(), Kept())
        (wraps, unwraps) = (wraps + 1, unwraps + 1)
      }
      try #require(provider.calls.count { $0 == .wrap } == wraps, "step \(step)")
      try #require(provider.calls.count { $0 == .unwrap } == unwraps, "step \(step)")
      if let cached {
        let event = try #require(recorder.events[before...].last)
        #expect(event.operation == .encrypt || event.operation == .decrypt)
        #expect(event.cached == cached && event.success && event.version != nil && event.provider == "counted")
      }
    }
  }
}

/// SplitMix64.
private struct Seeded: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

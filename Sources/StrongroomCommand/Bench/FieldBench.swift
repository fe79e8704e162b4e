import CryptoPrimitives
import Strongroom
import Synchronization

/// Values of 64 bytes under a content key that is used again (`cache`).
struct FieldBench {
  private let manager: DataAtRestManager
  private let contexts: [EncryptionContext]

  /// - Parameter keys: how many content keys are used in turn, each for a context of its own.
  init(_ room: BenchRoom, keys: Int) throws {
    var limits = room.configuration.dataAtRest.cache
    if keys > 1 { limits = try CacheLimits(maxAge: .seconds(3600), maxEntries: keys, partition: .context) }
    manager = try room.manager(cache: limits ?? CacheLimits())
    contexts = try (0..<keys).map { try EncryptionContext([("bench", "\($0)")]) }
  }

  func run(callers: Int, _ duration: Duration, into table: inout BenchTable) async throws {
    let (manager, contexts) = (manager, contexts)
    let value = [UInt8](repeating: 0, count: 64)
    let group = "fields of 64 bytes: key from the cache" + (contexts.count > 1 ? ", \(contexts.count) keys" : "")
    // Everybody goes through all, from a place of its own.
    let turns = (0..<callers).map { Turn($0 * contexts.count / callers) }
    var sealed: [[UInt8]] = []
    for context in contexts { sealed.append(try await manager.encrypt(value, context: context)) }
    for (context, sealed) in zip(contexts, sealed) { _ = try await manager.decrypt(sealed, context: context) }
    let bare = try await measureBare(callers, duration)
    table.add(group, "bare AES-256-GCM", bare)
    let seal = try await measure(callers: callers, for: duration) { caller in
      _ = try await manager.encrypt(value, context: contexts[turns[caller].next(of: contexts.count)])
    }
    table.add(group, "encrypt", seal, of: bare)
    let messages = sealed
    let open = try await measure(callers: callers, for: duration) { caller in
      let i = turns[caller].next(of: contexts.count)
      _ = try await manager.decrypt(messages[i], context: contexts[i])
    }
    table.add(group, "decrypt", open, of: bare)
  }

  private final class Turn: Sendable {
    private let last: Atomic<Int>
    init(_ first: Int) { last = Atomic(first) }
    func next(of count: Int) -> Int { last.add(1, ordering: .relaxed).newValue % count }
  }

  private func measureBare(_ callers: Int, _ duration: Duration) async throws -> Measured {
    let value = [UInt8](repeating: 0, count: 64)
    let ciphers = try (0..<callers).map { _ in try AESGCM(key: .random(count: 32)) }
    return try await measure(callers: callers, for: duration) { caller in
      let iv = Randomness.bytes(AESGCM.ivSize)
      _ = try ciphers[caller].seal(value.span, iv: iv.span, aad: value.span)
    }
  }
}

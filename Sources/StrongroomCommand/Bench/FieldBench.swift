import CryptoPrimitives
import Strongroom

/// Values of 64 bytes under a content key that is used again (`cache`).
struct FieldBench {
  private let manager: DataAtRestManager

  init(_ room: BenchRoom) throws {
    manager = try room.manager(cache: room.configuration.dataAtRest.cache ?? CacheLimits())
  }

  func run(callers: Int, _ duration: Duration, into table: inout BenchTable) async throws {
    let manager = manager
    let context = try EncryptionContext([("bench", "field")])
    let value = [UInt8](repeating: 0, count: 64)
    let group = "fields of 64 bytes: key from the cache"
    let bare = try await measureBare(callers, duration)
    table.add(group, "bare AES-256-GCM", bare)
    let seal = try await measure(callers: callers, for: duration) { _ in
      _ = try await manager.encrypt(value, context: context)
    }
    table.add(group, "encrypt", seal, of: bare)
    let sealed = try await manager.encrypt(value, context: context)
    let open = try await measure(callers: callers, for: duration) { _ in
      _ = try await manager.decrypt(sealed, context: context)
    }
    table.add(group, "decrypt", open, of: bare)
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

import Strongroom

#if PKCS11
  import PKCS11Provider
#endif

/// A new content key for each value: what the provider wraps and unwraps, through manager, log and sessions.
struct KeyBench {
  private let manager: DataAtRestManager
  private let provider: any KMSProvider

  init(_ room: BenchRoom) throws {
    manager = try room.manager(cache: nil)
    provider = room.provider
  }

  func run(callers: Int, _ duration: Duration, into table: inout BenchTable) async throws {
    let manager = manager
    let context = try EncryptionContext([("bench", "key")])
    let value = [UInt8](repeating: 0, count: 32)
    let group = "keys: each value under one of its own"
    let bare = try await measureBare(callers, duration)
    if let bare { table.add(group, "bare calls: wrap", bare.wrap) }
    let wrap = try await measure(callers: callers, for: duration) { _ in
      _ = try await manager.encrypt(value, context: context)
    }
    table.add(group, "encrypt", wrap, of: bare?.wrap)
    if let bare { table.add(group, "bare calls: unwrap", bare.unwrap) }
    let sealed = try await manager.encrypt(value, context: context)
    let unwrap = try await measure(callers: callers, for: duration) { _ in
      _ = try await manager.decrypt(sealed, context: context)
    }
    table.add(group, "decrypt", unwrap, of: bare?.unwrap)
  }

  private func measureBare(_ callers: Int, _ duration: Duration) async throws -> (wrap: Measured, unwrap: Measured)? {
    #if PKCS11
      guard let token = provider as? PKCS11Provider else { return nil }
      var made: [BareCalls] = []
      for _ in 0..<callers {
        guard let calls = try await token.bareCalls() else { return nil }
        made.append(calls)
      }
      let calls = made
      let wrap = try await measure(callers: callers, for: duration) { try calls[$0].wrap() }
      let unwrap = try await measure(callers: callers, for: duration) { try calls[$0].unwrap() }
      return (wrap, unwrap)
    #else
      return nil
    #endif
  }
}

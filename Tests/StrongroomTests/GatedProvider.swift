import InMemoryProvider
import Strongroom
import Synchronization

/// Keys in memory, whose next wrap, unwrap, list or change of state can be held up or made to fail.
final class GatedProvider: KMSProvider {
  /// Holds up one call.
  final class Gate: Sendable {
    private let state = Mutex((isReached: false, isOpen: false, waiting: [CheckedContinuation<Void, Never>]()))
    private let reachers = Mutex([CheckedContinuation<Void, Never>]())

    /// Returns once the call stands at the gate.
    func reached() async {
      await withCheckedContinuation { continuation in
        let isThere = state.withLock { state in
          if !state.isReached { reachers.withLock { $0.append(continuation) } }
          return state.isReached
        }
        if isThere { continuation.resume() }
      }
    }

    func open() {
      let waiting = state.withLock { state in
        state.isOpen = true
        return state.waiting
      }
      for continuation in waiting { continuation.resume() }
    }

    fileprivate func pass() async {
      await withCheckedContinuation { continuation in
        let (isOpen, reachers) = state.withLock { state in
          state.isReached = true
          if !state.isOpen { state.waiting.append(continuation) }
          return (state.isOpen, self.reachers.withLock { $0 })
        }
        for reacher in reachers { reacher.resume() }
        if isOpen { continuation.resume() }
      }
    }
  }

  private struct State {
    var counts: [AccessEvent.Operation: Int] = [:]
    var gates: [AccessEvent.Operation: Gate] = [:]
    var failing: Set<AccessEvent.Operation> = []
    var bindsContext = false
  }

  private let base = InMemoryProvider(name: "gated")
  private let state = Mutex(State())
  var identity: ProviderIdentity { base.identity }
  var wraps: Int { state.withLock { $0.counts[.wrap] ?? 0 } }
  var unwraps: Int { state.withLock { $0.counts[.unwrap] ?? 0 } }
  /// Whether wrapped keys look as those of a token that authenticates the context: A256GCM.
  var bindsContext: Bool {
    get { state.withLock { $0.bindsContext } }
    set { state.withLock { $0.bindsContext = newValue } }
  }

  /// The next call of this kind waits; those after it do not.
  func hold(_ operation: AccessEvent.Operation) -> Gate {
    let gate = Gate()
    state.withLock { $0.gates[operation] = gate }
    return gate
  }

  func failNext(_ operation: AccessEvent.Operation) { state.withLock { _ = $0.failing.insert(operation) } }

  /// - Returns: where the call waits once it is done.
  private func enter(_ operation: AccessEvent.Operation) throws -> Gate? {
    let (gate, fails) = state.withLock { state in
      state.counts[operation, default: 0] += 1
      return (state.gates.removeValue(forKey: operation), state.failing.remove(operation) != nil)
    }
    if fails { throw KMSError(.providerFailed, "told to fail") }
    return gate
  }

  func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    let gate = try enter(.wrap)
    let wrapped = try await base.wrap(key, under: id, aad: aad)
    await gate?.pass()
    guard bindsContext else { return wrapped }
    // 48 bytes as of A256GCM; what is bound is a digest of the context.
    return WrappedKey(algorithm: .a256GCM, iv: .init(repeating: 7, count: 12), bytes: wrapped.bytes + Self.digest(aad))
  }

  func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    await (try enter(.unwrap))?.pass()
    guard wrapped.algorithm == .a256GCM else { return try await base.unwrap(wrapped, under: id, aad: aad) }
    guard Array(wrapped.bytes[40...]) == Self.digest(aad) else { throw KMSError(.doesNotOpen, "another context") }
    return try await base.unwrap(
      WrappedKey(algorithm: .a256KW, bytes: Array(wrapped.bytes[..<40])), under: id, aad: aad)
  }

  private static func digest(_ aad: [UInt8]) -> [UInt8] {
    let hash = aad.reduce(UInt64(14_695_981_039_346_656_037)) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }  // FNV-1a
    return (0..<8).map { UInt8(truncatingIfNeeded: hash >> (8 * $0)) }
  }

  func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    let gate = try enter(.listVersions)
    let versions = try await base.keyVersions(of: name)
    await gate?.pass()
    return versions
  }
  func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try await base.createKeyVersion(request)
  }
  func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    await (try enter(.setState))?.pass()
    return try await base.setState(state, of: id)
  }
  func health() async -> ProviderHealth { await base.health() }
  func close() async { await base.close() }
}

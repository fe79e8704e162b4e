internal import CryptoPrimitives
internal import KMSCore
internal import Synchronization

/// Content keys that are used again until they are old, spent, pushed out or forgotten.
///
/// Keys are objects that wipe themselves when the last one who uses them lets go. One call that makes a key serves all
/// who ask for it meanwhile. Failures are not kept. After ``forget()`` nothing is given out that was made, or begun
/// to be made, before.
final class KeyCache<ID: Hashable & Sendable, Key: AnyObject & Sendable>: Sendable {
  private struct Entry {
    let key: Key
    let expires: ContinuousClock.Instant
  }

  private struct State {
    var entries = LRU<ID, Entry>()
    var flights: [ID: Flight<Key>] = [:]
    var isSwept = false
    /// The process that made the entries.
    var process = ForkMark.current

    /// A forked child takes none of its parent's keys.
    mutating func keepToItsProcess() {
      guard process != ForkMark.current else { return }
      process = ForkMark.current
      flights = [:]
      _ = entries.removeAll { _ in true }
    }
  }

  private enum Step {
    case found(Key)
    case wait(Flight<Key>)
    case make(Flight<Key>)
  }

  private let state = Mutex(State())
  private let now: @Sendable () -> ContinuousClock.Instant

  init(now: @escaping @Sendable () -> ContinuousClock.Instant) { self.now = now }

  /// How many keys are kept.
  var count: Int { state.withLock { $0.entries.count } }

  /// The key, if it is here; nothing is made and nobody waited for.
  func find(_ id: ID) -> Key? {
    let now = now()
    return state.withLock { state in
      state.keepToItsProcess()
      return state.entries.use(id).flatMap { now < $0.expires ? $0.key : nil }
    }
  }

  /// The key that is kept, or that somebody makes already, or a new one.
  ///
  /// - Parameters:
  ///   - isSpent: asked once for each key before it is given out; one that is spent is forgotten.
  ///   - make: runs in a task of its own, which nobody's cancellation touches.
  /// - Returns: the key, and whether somebody else made it.
  func key(
    for id: ID, limits: CacheLimits, isSpent: (Key) -> Bool = { _ in false },
    make: @escaping @Sendable () async throws -> Key
  ) async throws -> (key: Key, isCached: Bool) {
    while true {
      let now = now()
      var dropped: Entry?  // goes, and wipes itself, outside the lock
      let step = state.withLock { state -> Step in
        state.keepToItsProcess()
        if let entry = state.entries.use(id) {
          if now < entry.expires, !isSpent(entry.key) { return .found(entry.key) }
          dropped = state.entries.remove(id)
        }
        if let flight = state.flights[id] { return .wait(flight) }
        let flight = Flight<Key>()
        state.flights[id] = flight
        return .make(flight)
      }
      _ = consume dropped
      switch step {
      case .found(let key): return (key, true)
      case .wait(let flight):
        let key = try await flight.value()
        if !isSpent(key) { return (key, true) }
      case .make(let flight):
        // What was true of keys and their states is true as of now.
        Task { await self.run(flight, id, limits, expires: now + limits.maxAge, make) }
        let key = try await flight.value()
        if !isSpent(key) { return (key, false) }
      }
    }
  }

  private func run(
    _ flight: Flight<Key>, _ id: ID, _ limits: CacheLimits, expires: ContinuousClock.Instant,
    _ make: @Sendable () async throws -> Key
  ) async {
    let result: Result<Key, any Error>
    do { result = .success(try await make()) } catch { result = .failure(error) }
    var dropped: [Entry?] = []
    let mustSweep = state.withLock { state in
      // Another stands there, or none, when everything was forgotten meanwhile.
      guard state.flights[id] === flight else { return false }
      state.flights[id] = nil
      guard case .success(let key) = result else { return false }
      dropped.append(state.entries.remove(id))
      state.entries.insert(Entry(key: key, expires: expires), for: id)
      while state.entries.count > limits.maxEntries { dropped.append(state.entries.removeOldest()) }
      defer { state.isSwept = true }
      return !state.isSwept
    }
    dropped = []
    if mustSweep { sweep(every: limits.maxAge) }
    flight.land(result)
  }

  /// Forgets every key, and what is on its way is given only to those who wait for it now.
  func forget() {
    let dropped = state.withLock { state in
      state.flights = [:]
      return state.entries.removeAll { _ in true }
    }
    _ = consume dropped
  }

  /// Forgets keys that are too old, though nobody asks for them.
  func sweep() {
    let now = now()
    let dropped = state.withLock { state in state.entries.removeAll { $0.expires <= now } }
    _ = consume dropped
  }

  private func sweep(every pause: Duration) {
    Task.detached(priority: .utility) { [weak self] in
      while true {
        try? await Task.sleep(for: pause)
        guard let self else { return }
        sweep()
        let isDone = state.withLock { state in
          if state.entries.count == 0 { state.isSwept = false }
          return !state.isSwept
        }
        if isDone { return }
      }
    }
  }
}

internal import CryptoPrimitives
internal import KMSCore
internal import Synchronization

/// Content keys that are used again until they are old, spent, pushed out or forgotten.
///
/// Keys are objects that wipe themselves when the last one who uses them lets go. One call that makes a key serves all
/// who ask for it meanwhile. Failures are not kept. After ``forget()`` nothing is given out that was made, or begun
/// to be made, before.
final class KeyCache<ID: Hashable & Sendable, Key: HotKey>: Sendable {
  private struct Entry {
    let key: Key
    let expires: UInt64
    /// How many keys may be made before it is asked for here again.
    let leeway: Int
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
    case look
    case wait(Flight<Key>)
    case make(Flight<Key>)
  }

  private let state = Mutex(State())
  private let hot = HotKeys<Key>()
  private let now: @Sendable () -> UInt64

  /// - Parameter now: nanoseconds of a clock that does not stand still while the machine sleeps.
  init(now: @escaping @Sendable () -> UInt64) { self.now = now }

  /// How many keys are kept.
  var count: Int { state.withLock { $0.entries.count } }

  /// What `use` makes of a key that was used here lately, maybe not the one that is looked for; nil when none is at hand,
  /// or `use` gives nil.
  func quickly<Result>(_ hash: UInt64, at now: UInt64, _ use: (Key.Own) -> Result?) -> Result? {
    hot.with(hash, at: now, use)
  }

  /// The key, if it is here; nothing is made and nobody waited for.
  ///
  /// - Parameters:
  ///   - hot: by which hash and tag it is to be at hand from now on; nil: by none.
  ///   - isSpent: asked once before the key is given out; one that is spent is forgotten.
  func find(_ id: ID, hot place: (hash: UInt64, tag: Key.Tag)? = nil, isSpent: (Key) -> Bool = { _ in false }) -> Key? {
    let now = now()
    let generation = hot.currentGeneration
    var dropped: Entry?  // goes, and wipes itself, outside the lock
    let found = state.withLock { state -> Entry? in
      state.keepToItsProcess()
      guard let entry = state.entries.use(id) else { return nil }
      if now < entry.expires, !isSpent(entry.key) { return entry }
      dropped = state.entries.remove(id)
      return nil
    }
    drop([dropped])
    guard let found else { return nil }
    if let place {
      hot.put(
        found.key, place.tag, place.hash, expires: found.expires, leeway: found.leeway, generation: generation)
    }
    return found.key
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
      if let key = find(id, isSpent: isSpent) { return (key, true) }
      let now = now()
      let step = state.withLock { state -> Step in
        // Made meanwhile: looked at once more.
        if state.entries.use(id) != nil { return .look }
        if let flight = state.flights[id] { return .wait(flight) }
        let flight = Flight<Key>()
        state.flights[id] = flight
        return .make(flight)
      }
      switch step {
      case .look: continue
      case .wait(let flight):
        let key = try await flight.value()
        if !isSpent(key) { return (key, true) }
      case .make(let flight):
        // What was true of keys and their states is true as of now.
        Task { await self.run(flight, id, limits, expires: now + limits.maxAge.nanoseconds, make) }
        let key = try await flight.value()
        if !isSpent(key) { return (key, false) }
      }
    }
  }

  private func run(
    _ flight: Flight<Key>, _ id: ID, _ limits: CacheLimits, expires: UInt64, _ make: @Sendable () async throws -> Key
  ) async {
    let result: Result<Key, any Error>
    do { result = .success(try await make()) } catch { result = .failure(error) }
    var dropped: [Entry?] = []
    // Few enough that what is used is not pushed out. A small cache is asked each time.
    let leeway = limits.maxEntries / 16
    let mustSweep = state.withLock { state in
      // Another stands there, or none, when everything was forgotten meanwhile.
      guard state.flights[id] === flight else { return false }
      state.flights[id] = nil
      guard case .success(let key) = result else { return false }
      dropped.append(state.entries.remove(id))
      state.entries.insert(Entry(key: key, expires: expires, leeway: leeway), for: id)
      hot.noteMade()
      while state.entries.count > limits.maxEntries { dropped.append(state.entries.removeOldest()) }
      defer { state.isSwept = true }
      return !state.isSwept
    }
    drop(dropped)
    dropped = []
    if mustSweep { sweep(every: limits.maxAge) }
    flight.land(result)
  }

  private func drop(_ entries: [Entry?]) {
    for case let entry? in entries where entry.leeway > 0 { hot.remove(entry.key) }
  }

  /// Forgets every key, and what is on its way is given only to those who wait for it now.
  func forget() {
    let dropped = state.withLock { state in
      state.flights = [:]
      return state.entries.removeAll { _ in true }
    }
    _ = consume dropped
    hot.forget()  // after: who looks from now on finds nothing to put there
  }

  /// Forgets keys that are too old, though nobody asks for them.
  func sweep() {
    let now = now()
    let dropped = state.withLock { state in state.entries.removeAll { $0.expires <= now } }
    _ = consume dropped
    hot.sweep(now)
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

extension Duration {
  /// As a whole number; none below zero.
  var nanoseconds: UInt64 {
    UInt64(max(0, components.seconds)) * 1_000_000_000 + UInt64(max(0, components.attoseconds) / 1_000_000_000)
  }
}

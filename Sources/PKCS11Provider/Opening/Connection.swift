internal import KMSCore
internal import PKCS11
internal import Synchronization

/// A token that is open: module, logged-in sessions and the index of its keys. When the token or its sessions are lost,
/// the whole connection is, with every handle in it: the next one looks all keys up again.
final class Connection: Sendable {
  let module: Module
  let token: Token
  let pool: SessionPool
  let pace: Pace
  let canaries: Canaries
  let ways: WaysToWrap
  private let provider: String
  private let index = Mutex<KeyIndex?>(nil)
  private let reading = SharedWork<KeyIndex>()
  /// Counts how often it was forgotten.
  private let generation = Atomic(0)
  private let served = Atomic(false)

  /// Other nodes' new versions and state changes are seen after so long, or, where reading all takes long, after so many
  /// times that, but never later than the last.
  private static let indexAge = Duration.seconds(5)
  private static let patience = 20
  private static let mostIndexAge = Duration.seconds(30)

  init(
    module: Module, token: Token, pool: SessionPool, pace: Pace, ways: WaysToWrap, canaries: Canaries,
    provider: String
  ) {
    self.module = module
    self.token = token
    self.pool = pool
    self.pace = pace
    self.ways = ways
    self.canaries = canaries
    self.provider = provider
  }

  /// Whether a call has succeeded on it. One that never served is no proof that opening anew helps.
  var hasServed: Bool { served.load(ordering: .relaxed) }
  func noteServed() { if !hasServed { served.store(true, ordering: .relaxed) } }

  /// The index, read again when it is old or `anew` is set.
  func keys(anew: Bool = false) async throws -> KeyIndex {
    if anew { return try await readAll() }
    if let index = index.withLock({ $0 }),
      ContinuousClock.now - index.begun < max(Self.indexAge, min(Self.mostIndexAge, index.took * Self.patience))
    {
      return index
    }
    return try await reading.run(generation: generation.load(ordering: .relaxed)) { try await self.readAll() }
  }

  private func readAll() async throws -> KeyIndex {
    let fresh = try await read()
    index.withLock { old in
      var fresh = fresh
      fresh.keepVerified(of: old)
      old = fresh
    }
    return index.withLock { $0 } ?? fresh
  }

  private func read() async throws -> KeyIndex {
    let provider = provider
    var reads = 0
    while true {
      reads += 1
      do {
        return try await pool.withSession(weight: 16) { session throws(CallFailure) in
          try KeyIndex(reading: session, provider: provider)
        }
      } catch let failure as CallFailure where failure.returned.meansStaleHandle && reads < 20 {
        continue
      }
    }
  }

  /// The key with this id, looked for once more when it is not in the index.
  func entry(_ id: KeyVersionID, operation: String) async throws -> KeyIndex.Entry {
    if let entry = try await keys().entry(id) { return entry }
    // Another process may be replacing it (see `Session.replace`), and its steps are not seen at once.
    for pause in token.overwritesObjects ? [0, 5, 20, 50] : [0] {
      if pause > 0 { try await Task.sleep(for: .milliseconds(pause)) }
      if let entry = try await keys(anew: true).entry(id) { return entry }
    }
    throw KMSError(
      .keyNotFound, "there is no key version \(id) in the token",
      advice: "'strongroom key list' shows what there is.", provider: provider, operation: operation)
  }

  /// Makes sure that the handle names the key that it named in earlier connections.
  func verified(_ entry: KeyIndex.Entry) async throws -> KeyIndex.Entry {
    guard !entry.isVerified else { return entry }
    let (canaries, abilities) = (canaries, abilities)
    _ = try await pool.withSession { session throws(CallFailure) in try canaries.check(entry, on: session, abilities) }
    index.withLock { $0?.noteVerified(entry) }
    return entry
  }

  /// Whether the token does right what it did before, so that it is the input that is bad.
  func answers(_ entry: KeyIndex.Entry?) async -> Bool {
    let (canaries, abilities) = (canaries, abilities)
    let works: Void? = try? await pool.withSession { session throws(CallFailure) in
      if let entry, try canaries.check(entry, on: session, abilities) { return }
      _ = try session.random(1)
    }
    return works != nil
  }

  /// Whether a call that failed so may succeed with the keys as they are now.
  func looksDifferent(after returned: ReturnValue) async throws -> Bool {
    if returned.meansStaleHandle || returned.meansForbidden {
      forgetKeys()
      return true
    }
    guard returned.meansAnything, token.overwritesObjects, let before = index.withLock({ $0 }) else { return false }
    for _ in 0..<3 {
      // What the other process destroys is in the list until it is through with it.
      try await Task.sleep(for: .milliseconds(5))
      if try await keys(anew: true).handles != before.handles { return true }
    }
    return false
  }

  func forgetKeys() {
    generation.add(1, ordering: .relaxed)
    index.withLock { $0 = nil }
  }
}

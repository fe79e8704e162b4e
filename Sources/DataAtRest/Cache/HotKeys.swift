internal import CryptoPrimitives
internal import KMSCore
internal import Synchronization

/// Keys that a processor used last, each with what it works by of its own, in front of a ``KeyCache``: they are found and
/// used without a look at what other processors use.
///
/// After some keys were made a key is asked for in the cache again, so that it stays among those that were used lately.
/// What the cache forgot is never given out.
final class HotKeys<Key: HotKey>: Sendable {
  // A class, as one reference is counted faster than all that it holds.
  private final class Entry: Sendable {
    let key: Key
    let own: Key.Own
    let expires: UInt64
    let generation: UInt64
    /// Of the keys made, the last one before it is asked for again.
    let lastMade: UInt64

    init(_ key: Key, _ own: Key.Own, expires: UInt64, generation: UInt64, lastMade: UInt64) {
      self.key = key
      self.own = own
      self.expires = expires
      self.generation = generation
      self.lastMade = lastMade
    }
  }

  private struct Table {
    var process = ForkMark.current
    var entries = [Entry?](repeating: nil, count: 64)
  }

  private let tables = Striped { Table() }
  private let generation = Atomic<UInt64>(0)
  private let made = Atomic<UInt64>(0)

  /// To be asked before a key is looked for that is ``put(_:_:_:expires:leeway:generation:)``.
  var currentGeneration: UInt64 { generation.load(ordering: .acquiring) }

  /// What `use` makes of the key; nil when none is here, or `use` gives nil, as it does for one that it cannot use.
  func with<Result>(_ hash: UInt64, at now: UInt64, _ use: (Key.Own) -> Result?) -> Result? {
    let current = currentGeneration
    let made = made.load(ordering: .relaxed)
    return tables.withLock { table in
      let slot = Int(truncatingIfNeeded: hash & 63)
      guard let entry = table.entries[slot] else { return nil }
      guard entry.generation == current, now < entry.expires, made <= entry.lastMade,
        table.process == ForkMark.current
      else {
        table.entries[slot] = nil
        return nil
      }
      return use(entry.own)
    }
  }

  /// - Parameter leeway: how many keys may be made until it is asked for in the cache again.
  func put(_ key: Key, _ tag: Key.Tag, _ hash: UInt64, expires: UInt64, leeway: Int, generation: UInt64) {
    let lastMade = made.load(ordering: .relaxed) + UInt64(leeway)
    guard leeway > 0, let own = try? key.makeOwn(for: tag) else { return }
    tables.withLock { table in
      if table.process != ForkMark.current { table = Table() }
      table.entries[Int(truncatingIfNeeded: hash & 63)] = Entry(
        key, own, expires: expires, generation: generation, lastMade: lastMade)
    }
  }

  /// The cache has one key more, and may have let go of the one that it was asked for least lately.
  func noteMade() { made.add(1, ordering: .relaxed) }

  /// None of those is given out any more, that was put in or is about to be.
  func forget() {
    generation.add(1, ordering: .acquiringAndReleasing)
    removeAll { _ in true }
  }

  /// Lets go of keys that are too old, though nobody asks for them.
  func sweep(_ now: UInt64) { removeAll { $0.expires <= now } }

  /// Lets go of a key that the cache let go of.
  func remove(_ key: Key) { removeAll { $0.key === key } }

  private func removeAll(where isPicked: (Entry) -> Bool) {
    tables.withEachLock { table in
      for i in table.entries.indices where table.entries[i].map(isPicked) == true { table.entries[i] = nil }
    }
  }
}

/// A content key that is given to each processor.
protocol HotKey: AnyObject, Sendable {
  /// What it is found by.
  associatedtype Tag: Sendable
  /// What one caller at a time works by, and all that it needs: the key itself is every processor's, and to count one more
  /// reference to it is to wait for the others.
  associatedtype Own: Sendable

  /// - Parameter tag: what it will be found by.
  func makeOwn(for tag: Tag) throws -> Own
}

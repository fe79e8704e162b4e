internal import CryptoPrimitives
internal import KMSCore
internal import Synchronization

/// Keys that a processor used last, each with what it works by of its own, in front of a ``KeyCache``: they are found and
/// used without a look at what other processors use.
///
/// A key is used from here some times and then asked for in the cache again, so that it stays among those that were
/// used lately. What the cache forgot is never given out.
final class HotKeys<Key: HotKey>: Sendable {
  // A class, as one reference is counted faster than all that it holds.
  private final class Entry: Sendable {
    let tag: Key.Tag
    let key: Key
    let own: Key.Own
    let expires: UInt64
    let generation: UInt64
    /// Changed under the table's lock.
    let usesLeft: Atomic<Int>

    init(_ tag: Key.Tag, _ key: Key, _ own: Key.Own, expires: UInt64, generation: UInt64, usesLeft: Int) {
      self.tag = tag
      self.key = key
      self.own = own
      self.expires = expires
      self.generation = generation
      self.usesLeft = Atomic(usesLeft)
    }
  }

  private struct Table {
    var process = ForkMark.current
    var entries = [Entry?](repeating: nil, count: 64)
  }

  private let tables = Striped { Table() }
  private let generation = Atomic<UInt64>(0)

  /// To be asked before a key is looked for that is ``put(_:_:_:expires:uses:generation:)``.
  var currentGeneration: UInt64 { generation.load(ordering: .acquiring) }

  /// What `use` makes of the key; nil when it is not here, or `use` gives nil.
  func with<Result>(
    _ hash: UInt64, at now: UInt64, isAskedFor: (Key.Tag, Key.Own) -> Bool, _ use: (Key.Own) -> Result?
  ) -> Result? {
    let current = currentGeneration
    return tables.withLock { table in
      let slot = Int(truncatingIfNeeded: hash & 63)
      guard let entry = table.entries[slot], isAskedFor(entry.tag, entry.own) else { return nil }
      let left = entry.usesLeft.load(ordering: .relaxed)
      guard entry.generation == current, now < entry.expires, left > 0, table.process == ForkMark.current
      else {
        table.entries[slot] = nil
        return nil
      }
      entry.usesLeft.store(left - 1, ordering: .relaxed)
      return use(entry.own)
    }
  }

  func put(_ key: Key, _ tag: Key.Tag, _ hash: UInt64, expires: UInt64, uses: Int, generation: UInt64) {
    guard uses > 0, let own = try? key.makeOwn() else { return }
    tables.withLock { table in
      if table.process != ForkMark.current { table = Table() }
      table.entries[Int(truncatingIfNeeded: hash & 63)] = Entry(
        tag, key, own, expires: expires, generation: generation, usesLeft: uses)
    }
  }

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

  func makeOwn() throws -> Own
}

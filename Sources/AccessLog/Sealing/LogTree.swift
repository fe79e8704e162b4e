import CryptoPrimitives
import KMSCore
import Synchronization

/// The tree of one writer's log. It may lag a little behind what is written: whoever has leisure hashes, such as a
/// caller that waits for another's write.
final class LogTree: Sendable {
  /// Records that are written, and not yet in the tree.
  private struct Backlog {
    var bytes: [UInt8] = []
    var records: [Range<Int>] = []
    /// Records of this log so far.
    var size: UInt64 = 0
  }

  private struct Tree: ~Copyable {
    var origin: String
    var frontier = MerkleFrontier()
    /// Size of the tree that a checkpoint was last asked for.
    var asked: UInt64 = 0
    var hasher = TreeHasher()
    var spareBytes: [UInt8] = []
    var spareRecords: [Range<Int>] = []
  }

  static let recordsBetweenCheckpoints: UInt64 = 1000
  private static let longestBacklog = 1 << 16

  private let keyName: String
  private let backlog = Mutex(Backlog())
  private let tree: Mutex<Tree>
  private let lag = Atomic(0)
  private let isHashing = Atomic(false)

  init(keyName: String) {
    self.keyName = keyName
    tree = Mutex(Tree(origin: Self.makeOrigin(keyName)))
  }

  // Each writer is a log of its own.
  private static func makeOrigin(_ keyName: String) -> String { "\(keyName)/\(KeyVersionID.make())" }

  /// The first line of its checkpoints.
  var origin: String { tree.withLock { $0.origin } }

  /// Takes records that stand in `bytes`, in the order in which they are written. Both are left empty, with memory
  /// that is used again: what one processor wrote is copied to another's once, by whom hashes it.
  ///
  /// - Returns: whether they should be hashed now: a checkpoint is due, or many wait.
  func add(_ bytes: inout [UInt8], _ records: inout [Range<Int>]) -> Bool {
    backlog.withLock { backlog in
      let before = backlog.size
      backlog.size += UInt64(records.count)
      if backlog.records.isEmpty {
        swap(&backlog.bytes, &bytes)
        swap(&backlog.records, &records)
      } else {
        let offset = backlog.bytes.count
        backlog.bytes += bytes
        for record in records { backlog.records.append(record.lowerBound + offset..<record.upperBound + offset) }
      }
      bytes.removeAll(keepingCapacity: bytes.capacity <= 1 << 20)
      records.removeAll(keepingCapacity: records.capacity <= 1 << 16)
      lag.store(backlog.records.count, ordering: .relaxed)
      return before / Self.recordsBetweenCheckpoints != backlog.size / Self.recordsBetweenCheckpoints
        || backlog.bytes.count > Self.longestBacklog
    }
  }

  /// Somebody could hash.
  var hasBacklog: Bool { lag.load(ordering: .relaxed) > 0 && !isHashing.load(ordering: .relaxed) }

  /// Hashes what waits; nothing where another does so already. The checkpoints that are due by it: one at each
  /// 1,000 records.
  func hashIfFree() -> [Checkpoint] {
    // Before the lock: finding that taken is a system call.
    guard !isHashing.exchange(true, ordering: .acquiring) else { return [] }
    defer { isHashing.store(false, ordering: .releasing) }
    return tree.withLock { hash(&$0) }
  }

  /// Hashes all that was added.
  ///
  /// - Parameter isAsked: for a checkpoint of what is there, if anything is new.
  func hash(isAsked: Bool) -> [Checkpoint] {
    tree.withLock { tree in
      var due = hash(&tree)
      if isAsked, tree.frontier.size > tree.asked { due.append(checkpoint(&tree)) }
      return due
    }
  }

  /// The tree of all that was added, and the checkpoints that are due.
  func current() -> (MerkleFrontier, due: [Checkpoint]) {
    tree.withLock { tree in
      let due = hash(&tree)
      return (tree.frontier, due)
    }
  }

  /// Ends this log. What comes next is another's.
  ///
  /// - Returns: a checkpoint of all its records.
  func end() -> Checkpoint {
    tree.withLock { tree in
      _ = hash(&tree)  // all are covered by the last one
      let last = checkpoint(&tree)
      backlog.withLock { $0.size = 0 }
      (tree.origin, tree.frontier, tree.asked) = (Self.makeOrigin(keyName), MerkleFrontier(), 0)
      return last
    }
  }

  private func hash(_ tree: inout Tree) -> [Checkpoint] {
    var due: [Checkpoint] = []
    var (bytes, records): ([UInt8], [Range<Int>]) = ([], [])
    swap(&bytes, &tree.spareBytes)  // memory that is used again
    swap(&records, &tree.spareRecords)
    while true {
      backlog.withLock { backlog in
        swap(&backlog.bytes, &bytes)
        swap(&backlog.records, &records)
        lag.store(0, ordering: .relaxed)
      }
      if records.isEmpty { break }
      for record in records {
        tree.frontier.append(tree.hasher.leaf(bytes.span.extracting(record)), &tree.hasher)
        if tree.frontier.size % Self.recordsBetweenCheckpoints == 0 { due.append(checkpoint(&tree)) }
      }
      bytes.removeAll(keepingCapacity: true)
      records.removeAll(keepingCapacity: true)
    }
    swap(&bytes, &tree.spareBytes)
    swap(&records, &tree.spareRecords)
    return due
  }

  private func checkpoint(_ tree: inout Tree) -> Checkpoint {
    tree.asked = tree.frontier.size
    return Checkpoint(origin: tree.origin, size: tree.asked, root: tree.frontier.root(&tree.hasher))
  }
}

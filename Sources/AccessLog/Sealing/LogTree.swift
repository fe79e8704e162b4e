import CryptoPrimitives
import Glibc
import KMSCore
import Synchronization

/// The tree of one writer's log. Whoever wrote a record hashes it, while others write: so the tree may lag behind the
/// file by as many records as there are threads.
final class LogTree: Sendable {
  private struct Tree: ~Copyable {
    var origin: String
    var frontier = MerkleFrontier()
    /// Leaves that came before one that was written earlier.
    var early: [UInt64: TreeHash] = [:]
    /// Size of the tree that a checkpoint was last asked for.
    var asked: UInt64 = 0
    var hasher = TreeHasher()
  }

  private final class LeafHasher {
    var hasher = TreeHasher()
  }

  static let recordsBetweenCheckpoints: UInt64 = 1000

  private let keyName: String
  private let tree: Mutex<Tree>
  private let hashers = Striped { LeafHasher() }

  init(keyName: String) {
    self.keyName = keyName
    tree = Mutex(Tree(origin: Self.makeOrigin(keyName)))
  }

  // Each writer is a log of its own.
  private static func makeOrigin(_ keyName: String) -> String { "\(keyName)/\(KeyVersionID.make())" }

  static func keyName(of origin: String) -> String? { origin.split(separator: "/").first.map(String.init) }

  /// When a log was begun, as its name says; nil for a name that no writer makes.
  static func begun(_ origin: String) -> Timestamp? {
    origin.split(separator: "/").last.flatMap { try? KeyVersionID(parsing: String($0)) }?.created
  }

  /// The first line of its checkpoints.
  var origin: String { tree.withLock { $0.origin } }

  /// Before its first record: its name says when that was, and the log before it may have ended long ago.
  func begin() { tree.withLock { $0.origin = Self.makeOrigin(keyName) } }

  /// Takes a record that is written.
  ///
  /// - Parameters:
  ///   - record: without its newline.
  ///   - sequence: its number. Each is to be given, in whatever order.
  /// - Returns: the checkpoints that are due by it: one at each 1,000 records.
  func add(_ record: Span<UInt8>, _ sequence: UInt64) -> [Checkpoint] {
    let leaf = hashers.withLock { $0.hasher.leaf(record) }
    return tree.withLock { tree in
      guard sequence == tree.frontier.size + 1 else {
        tree.early[sequence] = leaf
        return []
      }
      var due = append(leaf, &tree)
      while !tree.early.isEmpty, let next = tree.early.removeValue(forKey: tree.frontier.size + 1) {
        due += append(next, &tree)
      }
      return due
    }
  }

  private func append(_ leaf: TreeHash, _ tree: inout Tree) -> [Checkpoint] {
    tree.frontier.append(leaf, &tree.hasher)
    return tree.frontier.size % Self.recordsBetweenCheckpoints == 0 ? [checkpoint(&tree)] : []
  }

  /// A checkpoint of all records that were written, of which there are `size`; nil where none is new.
  func checkpoint(of size: UInt64) -> Checkpoint? {
    wait(for: size)
    return tree.withLock { tree in size > tree.asked ? checkpoint(&tree) : nil }
  }

  /// The tree of all records that were written, of which there are `size`.
  func frontier(of size: UInt64) -> MerkleFrontier {
    wait(for: size)
    return tree.withLock { $0.frontier }
  }

  /// Ends this log, of `size` records. What comes next is another's.
  ///
  /// - Returns: a checkpoint of all its records.
  func end(_ size: UInt64) -> Checkpoint {
    wait(for: size)
    return tree.withLock { tree in
      let last = checkpoint(&tree)
      (tree.origin, tree.frontier, tree.asked) = (Self.makeOrigin(keyName), MerkleFrontier(), 0)
      return last
    }
  }

  /// For those who wrote the last records and are about to hash them. By who has the turn, so that no more come.
  private func wait(for size: UInt64) {
    while tree.withLock({ $0.frontier.size != size }) { sched_yield() }
  }

  private func checkpoint(_ tree: inout Tree) -> Checkpoint {
    tree.asked = tree.frontier.size
    return Checkpoint(origin: tree.origin, size: tree.asked, root: tree.frontier.root(&tree.hasher))
  }
}

import CryptoPrimitives

/// What is needed of a Merkle tree (RFC 6962) to add leaves and to know its root: the roots of the whole subtrees
/// that it consists of, the largest first. 64 hashes at most, whatever its size.
struct MerkleFrontier: Sendable, Hashable {
  /// No log has as many records: what can be counted on from here is a number still.
  static let largestSize = UInt64(1) << 62

  private(set) var size: UInt64 = 0
  private(set) var roots: [TreeHash] = []

  init() {}

  /// Nil when there are not as many roots as the size has ones, or the size is none of a log.
  init?(size: UInt64, roots: [TreeHash]) {
    guard roots.count == size.nonzeroBitCount, size <= Self.largestSize else { return nil }
    self.size = size
    self.roots = roots
  }

  mutating func append(_ leaf: TreeHash, _ hasher: inout TreeHasher) {
    var hash = leaf
    var rest = size
    while rest & 1 == 1 {
      hash = hasher.node(roots.removeLast(), hash)
      rest >>= 1
    }
    roots.append(hash)
    size += 1
  }

  func root(_ hasher: inout TreeHasher) -> TreeHash {
    guard var hash = roots.last else { return TreeHasher.empty }
    for left in roots.dropLast().reversed() { hash = hasher.node(left, hash) }
    return hash
  }

  /// As one word: the size, and the roots in base64.
  var text: String { ([String(size)] + roots.map { Base64.encode($0.bytes) }).joined(separator: ",") }

  init?(text: String) {
    let parts = text.split(separator: ",", omittingEmptySubsequences: false)
    let roots = parts.dropFirst().compactMap { Base64.decode($0).flatMap { TreeHash($0) } }
    guard let size = parts.first.flatMap({ UInt64($0) }), roots.count == parts.count - 1 else { return nil }
    self.init(size: size, roots: roots)
    guard self.text == text else { return nil }
  }
}

/// Collects the audit path of one leaf (RFC 6962, 2.1.1) while leaves go by, in memory that does not grow.
struct InclusionProofBuilder: ~Copyable {
  private let index: UInt64
  private let size: UInt64
  private var hasher = TreeHasher()
  /// Subtrees that are whole, the largest first. `holds` for the one that has the leaf in it.
  private var parts: [(hash: TreeHash, count: UInt64, holds: Bool)] = []
  private var path: [TreeHash] = []
  private(set) var leaf: TreeHash?
  private var seen: UInt64
  var isComplete: Bool { seen >= size }

  /// - Parameters:
  ///   - start: what stands before the first leaf that will be added.
  ///   - index: of the leaf, from 0; not before `start`.
  init(start: MerkleFrontier, index: UInt64, size: UInt64) {
    self.index = index
    self.size = size
    seen = start.size
    var rest = start.size
    for root in start.roots {
      let count = UInt64(1) << (63 - UInt64(rest.leadingZeroBitCount))
      rest -= count
      parts.append((root, count, false))
    }
  }

  mutating func append(_ hash: TreeHash) {
    guard seen < size else { return }
    if seen == index { leaf = hash }
    parts.append((hash, 1, seen == index))
    seen += 1
    while parts.count > 1, parts[parts.count - 1].count == parts[parts.count - 2].count { merge() }
  }

  private mutating func merge() {
    let right = parts.removeLast()
    let left = parts.removeLast()
    if left.holds { path.append(right.hash) }
    if right.holds { path.append(left.hash) }
    parts.append((hasher.node(left.hash, right.hash), left.count + right.count, left.holds || right.holds))
  }

  /// The path from the leaf up, and the root; nil when leaves are missing.
  consuming func finish() -> (path: [TreeHash], root: TreeHash)? {
    guard seen == size, leaf != nil else { return nil }
    while parts.count > 1 { merge() }
    return (path, parts[0].hash)
  }
}

/// Whether `path` leads from the leaf to the root (RFC 9162, 2.1.3.2).
func verifyInclusion(
  _ leaf: TreeHash, index: UInt64, size: UInt64, path: [TreeHash], root: TreeHash
) -> Bool {
  guard index < size else { return false }
  var hasher = TreeHasher()
  var (node, last) = (index, size - 1)
  var hash = leaf
  for sibling in path {
    if last == 0 { return false }
    if node & 1 == 1 || node == last {
      hash = hasher.node(sibling, hash)
      while node & 1 == 0, node != 0 {
        node >>= 1
        last >>= 1
      }
    } else {
      hash = hasher.node(hash, sibling)
    }
    node >>= 1
    last >>= 1
  }
  return last == 0 && hash == root
}

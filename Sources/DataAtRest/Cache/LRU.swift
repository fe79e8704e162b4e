/// A table that knows which of its values was used longest ago. Every operation takes constant time.
struct LRU<Key: Hashable, Value> {
  private struct Node {
    let key: Key
    var value: Value
    var newer: Int
    var older: Int
  }

  // A list through an array: `nil` nodes are free for the next.
  private var nodes: [Node?] = []
  private var free: [Int] = []
  private var index: [Key: Int] = [:]
  private var newest = -1
  private var oldest = -1

  var count: Int { index.count }

  /// The value, which is the newest from now on.
  mutating func use(_ key: Key) -> Value? {
    guard let i = index[key] else { return nil }
    if i != newest {
      unlink(i)
      link(i)
    }
    return nodes[i]?.value
  }

  /// Puts a value in as the newest. What stood under the key must have been removed.
  mutating func insert(_ value: Value, for key: Key) {
    let i = free.popLast() ?? nodes.count
    let node = Node(key: key, value: value, newer: -1, older: -1)
    if i == nodes.count { nodes.append(node) } else { nodes[i] = node }
    index[key] = i
    link(i)
  }

  mutating func remove(_ key: Key) -> Value? {
    guard let i = index.removeValue(forKey: key) else { return nil }
    unlink(i)
    defer { nodes[i] = nil }
    free.append(i)
    return nodes[i]?.value
  }

  /// Removes what was used longest ago.
  mutating func removeOldest() -> Value? {
    guard oldest >= 0, let key = nodes[oldest]?.key else { return nil }
    return remove(key)
  }

  /// Removes what the body picks.
  mutating func removeAll(where isPicked: (Value) -> Bool) -> [Value] {
    let keys = nodes.compactMap { node in node.flatMap { isPicked($0.value) ? $0.key : nil } }
    return keys.compactMap { remove($0) }
  }

  private mutating func link(_ i: Int) {
    nodes[i]?.older = newest
    nodes[i]?.newer = -1
    if newest >= 0 { nodes[newest]?.newer = i } else { oldest = i }
    newest = i
  }

  private mutating func unlink(_ i: Int) {
    guard let (newer, older) = nodes[i].map({ ($0.newer, $0.older) }) else { return }
    if newer >= 0 { nodes[newer]?.older = older } else { newest = older }
    if older >= 0 { nodes[older]?.newer = newer } else { oldest = newer }
  }
}

/// Stands for the contexts of many operations, in bounded memory: of all their tags those that tell about how many
/// contexts there were (for each of 256 registers the one with the most leading zeros, as HyperLogLog counts them).
package struct ContextTags: Sendable, Hashable {
  // By register; 0: none.
  private var kept: [UInt64] = []

  package init() {}

  package mutating func add(_ tag: UInt64) {
    if kept.isEmpty { kept = [UInt64](repeating: 0, count: 256) }
    let hash = Self.mixed(tag)
    let register = Int(hash >> 56)
    guard kept[register] == 0 || Self.rank(hash) > Self.rank(Self.mixed(kept[register])) else { return }
    kept[register] = tag
  }

  package static func += (left: inout ContextTags, right: ContextTags) { for tag in right.all { left.add(tag) } }

  /// About how many contexts there were.
  package var estimate: Int {
    var counter = DistinctCounter()
    for tag in kept where tag != 0 { _ = counter.add(Self.mixed(tag)) }
    return Int(counter.estimate.rounded())
  }

  package var all: [UInt64] { kept.filter { $0 != 0 } }

  /// A tag is a hash already, but a log's may be anybody's: mixed once more.
  package static func mixed(_ tag: UInt64) -> UInt64 { tag &* 0x9E37_79B9_7F4A_7C15 }

  private static func rank(_ hash: UInt64) -> Int { (hash << 8).leadingZeroBitCount }
}

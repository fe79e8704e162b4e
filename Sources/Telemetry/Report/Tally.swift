/// How often something was done, and how often in vain, by name. Names beyond ``limit`` are counted together.
struct Tally: Sendable, Hashable {
  struct Count: Sendable, Hashable {
    var total = 0
    var failed = 0
  }

  static let limit = 1000
  static let others = "(others)"
  private(set) var counts: [String: Count] = [:]

  mutating func add(_ name: String, _ times: Int = 1, success: Bool) {
    let known = counts.count < Self.limit || counts[name] != nil
    counts[known ? name : Self.others, default: Count()].add(times, success: success)
  }

  /// The most frequent first.
  var sorted: [(name: String, count: Count)] {
    counts.sorted { ($1.value.total, $0.key) < ($0.value.total, $1.key) }.map { ($0.key, $0.value) }
  }
}

/// The last elements of a sequence, as many as the limit.
struct Last<Element: Sendable & Hashable>: Sendable, Hashable {
  private var ring: [Element] = []
  private var next = 0
  private let limit: Int

  init(_ limit: Int) { self.limit = limit }

  mutating func add(_ element: Element) {
    if ring.count < limit { ring.append(element) } else { ring[next] = element }
    next = (next + 1) % limit
  }

  /// Oldest first.
  var elements: [Element] { ring.count < limit ? ring : Array(ring[next...] + ring[..<next]) }
}

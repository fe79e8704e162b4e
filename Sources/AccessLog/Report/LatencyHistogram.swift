/// Counts of durations in buckets that grow with the value: any percentile to 3.2 %, in memory that does not grow.
struct LatencyHistogram: Sendable, Hashable {
  private(set) var count: UInt64 = 0
  private(set) var maximum: UInt64 = 0
  private var buckets: [UInt64] = []

  /// 2^5 buckets for every power of two.
  private static let bits = 5

  mutating func add(nanoseconds value: UInt64) {
    let index = Self.index(of: value)
    if index >= buckets.count { buckets += repeatElement(0, count: index + 1 - buckets.count) }
    buckets[index] += 1
    count += 1
    maximum = max(maximum, value)
  }

  /// Nanoseconds that the given part (0 to 1) of all values does not exceed, to the upper end of a bucket.
  func percentile(_ part: Double) -> UInt64 {
    let rank = UInt64((Double(count) * part).rounded(.up))
    var sum: UInt64 = 0
    for (index, bucket) in buckets.enumerated() {
      sum += bucket
      if sum >= max(1, rank) { return min(Self.upperEnd(of: index), maximum) }
    }
    return maximum
  }

  private static func index(of value: UInt64) -> Int {
    let exponent = 63 - value.leadingZeroBitCount
    guard exponent >= bits else { return Int(value) }
    let shift = exponent - bits
    return (shift + 1) << bits + Int(value >> UInt64(shift)) - 1 << bits
  }

  private static func upperEnd(of index: Int) -> UInt64 {
    guard index >= 1 << bits else { return UInt64(index) }
    let shift = UInt64(index >> bits - 1)
    let lower = UInt64(index & (1 << bits - 1) + 1 << bits) << shift
    return lower + (1 << shift - 1)
  }
}

internal import Histogram

/// Durations, any percentile of them to 1 %, in memory that does not grow (HdrHistogram).
struct LatencyHistogram: Sendable, Hashable {
  private var histogram = Histogram<UInt64>(
    highestTrackableValue: Self.longest, numberOfSignificantValueDigits: .two)
  /// Exact, in nanoseconds.
  private(set) var minimum = UInt64.max
  private(set) var maximum: UInt64 = 0

  private static let longest = UInt64.max / 2

  var count: UInt64 { histogram.totalCount }

  mutating func add(nanoseconds value: UInt64, count: Int = 1) {
    histogram.record(min(value, Self.longest), count: UInt64(max(0, count)))
    minimum = min(minimum, value)
    maximum = max(maximum, value)
  }

  /// Nanoseconds that the given part (0 to 1) of all values does not exceed.
  func percentile(_ part: Double) -> UInt64 {
    guard count > 0 else { return 0 }
    let value = histogram.valueAtPercentile(part * 100)
    return value >= Self.longest ? maximum : min(max(value, minimum), maximum)
  }

  func hash(into hasher: inout Hasher) { hasher.combine(count) }
}

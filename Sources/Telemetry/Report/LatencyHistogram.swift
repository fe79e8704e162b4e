internal import Histogram

/// Durations, any percentile of them to 1 %, in memory that does not grow (HdrHistogram).
package struct LatencyHistogram: Sendable, Hashable {
  private var histogram = Histogram<UInt64>(
    highestTrackableValue: Self.longest, numberOfSignificantValueDigits: .two)
  /// Exact, in nanoseconds.
  private(set) var minimum = UInt64.max
  private(set) var maximum: UInt64 = 0

  private static let longest = UInt64.max / 2

  package init() {}

  package var count: UInt64 { histogram.totalCount }

  package mutating func add(nanoseconds value: UInt64, count: Int = 1) {
    histogram.record(min(value, Self.longest), count: UInt64(max(0, count)))
    minimum = min(minimum, value)
    maximum = max(maximum, value)
  }

  package mutating func add(_ other: LatencyHistogram) {
    histogram.add(other.histogram)
    minimum = min(minimum, other.minimum)
    maximum = max(maximum, other.maximum)
  }

  /// Nanoseconds that the given part (0 to 1) of all values does not exceed.
  package func percentile(_ part: Double) -> UInt64 {
    guard count > 0 else { return 0 }
    let value = histogram.valueAtPercentile(part * 100)
    return value >= Self.longest ? maximum : min(max(value, minimum), maximum)
  }

  package func hash(into hasher: inout Hasher) { hasher.combine(count) }
}

internal import CoreMetrics
internal import Synchronization

/// One line, or some, of Prometheus' text format.
protocol PrometheusSeries: AnyObject, Sendable {
  /// - Parameter labels: as ``PrometheusText/labels(_:)`` gives them, without braces.
  func lines(_ name: String, labels: String) -> String
}

final class PrometheusCounter: PrometheusSeries, CounterHandler {
  private let value = Atomic<Int64>(0)

  func increment(by amount: Int64) { value.add(amount, ordering: .relaxed) }
  func reset() { value.store(0, ordering: .relaxed) }
  func lines(_ name: String, labels: String) -> String {
    PrometheusText.line(name, labels, "\(value.load(ordering: .relaxed))")
  }
}

final class PrometheusGauge: PrometheusSeries, MeterHandler, RecorderHandler, FloatingPointCounterHandler {
  private let value = Mutex(0.0)

  func set(_ new: Int64) { set(Double(new)) }
  func set(_ new: Double) { value.withLock { $0 = new } }
  func increment(by amount: Double) { value.withLock { $0 += amount } }
  func decrement(by amount: Double) { increment(by: -amount) }
  func record(_ new: Int64) { set(Double(new)) }
  func record(_ new: Double) { set(new) }
  func reset() { set(0.0) }
  func lines(_ name: String, labels: String) -> String {
    PrometheusText.line(name, labels, PrometheusText.number(value.withLock { $0 }))
  }
}

final class PrometheusSummary: PrometheusSeries, RecorderHandler {
  private let state = Mutex((sum: 0.0, count: UInt64(0)))

  func record(_ value: Int64) { record(Double(value)) }
  func record(_ value: Double) {
    state.withLock {
      $0.sum += value
      $0.count += 1
    }
  }
  func lines(_ name: String, labels: String) -> String {
    let (sum, count) = state.withLock { $0 }
    return PrometheusText.line(name + "_sum", labels, PrometheusText.number(sum))
      + PrometheusText.line(name + "_count", labels, "\(count)")
  }
}

/// Durations from 10 µs to 10 s, three buckets a decade.
final class PrometheusHistogram: PrometheusSeries, TimerHandler {
  private static let bounds: [(nanoseconds: Int64, text: String)] = [
    (10_000, "1e-05"), (25_000, "2.5e-05"), (50_000, "5e-05"), (100_000, "0.0001"), (250_000, "0.00025"),
    (500_000, "0.0005"), (1_000_000, "0.001"), (2_500_000, "0.0025"), (5_000_000, "0.005"), (10_000_000, "0.01"),
    (25_000_000, "0.025"), (50_000_000, "0.05"), (100_000_000, "0.1"), (250_000_000, "0.25"), (500_000_000, "0.5"),
    (1_000_000_000, "1"), (2_500_000_000, "2.5"), (5_000_000_000, "5"), (10_000_000_000, "10"),
  ]

  private struct State {
    var buckets = [UInt64](repeating: 0, count: bounds.count + 1)
    var sum = 0.0
  }
  private let state = Mutex(State())

  func recordNanoseconds(_ duration: Int64) {
    var index = 0
    while index < Self.bounds.count, duration > Self.bounds[index].nanoseconds { index += 1 }
    state.withLock { state in
      state.buckets[index] += 1
      state.sum += Double(duration)
    }
  }

  func lines(_ name: String, labels: String) -> String {
    let state = state.withLock { $0 }
    var text = ""
    var sum: UInt64 = 0
    for (bound, count) in zip(Self.bounds.map(\.text) + ["+Inf"], state.buckets) {
      sum += count
      let all = labels.isEmpty ? "le=\"\(bound)\"" : "\(labels),le=\"\(bound)\""
      text += PrometheusText.line(name + "_bucket", all, "\(sum)")
    }
    return text + PrometheusText.line(name + "_sum", labels, PrometheusText.number(state.sum / 1e9))
      + PrometheusText.line(name + "_count", labels, "\(sum)")
  }
}

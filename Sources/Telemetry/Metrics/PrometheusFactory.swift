public import CoreMetrics
internal import Synchronization

/// Keeps metrics of swift-metrics and prints them in Prometheus' text format, for a file that node_exporter's
/// textfile collector reads, or for whatever serves it.
///
/// Labels are names after Prometheus' conventions: counters end in `_total`, timers in `_seconds`. Names of other
/// libraries are brought into that form.
public final class PrometheusFactory: MetricsFactory, Sendable {
  private struct State {
    var families: [String: Family] = [:]
  }

  struct Family {
    let kind: Kind
    var series: [String: any PrometheusSeries] = [:]
  }

  enum Kind: String {
    case counter, gauge, histogram, summary
  }

  private let state = Mutex(State())
  private let help: [String: String]
  /// A family with more series than this takes no more: labels that grow must not fill the memory.
  static let largestFamily = 2000

  /// - Parameter help: what a metric means, by its name.
  public init(help: [String: String] = MetricNames.help) { self.help = help }

  /// Counts up; `_total` is added to the name where it is missing.
  public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
    series(label, suffix: "_total", .counter, dimensions) { PrometheusCounter() }
  }

  /// Counts up.
  public func makeFloatingPointCounter(
    label: String, dimensions: [(String, String)]
  ) -> any FloatingPointCounterHandler {
    series(label, suffix: "_total", .counter, dimensions) { PrometheusGauge() }
  }

  /// Goes up and down.
  public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
    series(label, suffix: "", .gauge, dimensions) { PrometheusGauge() }
  }

  /// A gauge, or a summary without quantiles where it aggregates.
  public func makeRecorder(
    label: String, dimensions: [(String, String)], aggregate: Bool
  ) -> any RecorderHandler {
    aggregate
      ? series(label, suffix: "", .summary, dimensions) { PrometheusSummary() }
      : series(label, suffix: "", .gauge, dimensions) { PrometheusGauge() }
  }

  /// A histogram in seconds; `_seconds` is added to the name where it is missing.
  public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    series(label, suffix: "_seconds", .histogram, dimensions) { PrometheusHistogram() }
  }

  /// Metrics of a process are kept as long as it runs: Prometheus wants counters that go on.
  public func destroyCounter(_ handler: any CounterHandler) {}
  /// As above.
  public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
  /// As above.
  public func destroyMeter(_ handler: any MeterHandler) {}
  /// As above.
  public func destroyRecorder(_ handler: any RecorderHandler) {}
  /// As above.
  public func destroyTimer(_ handler: any TimerHandler) {}

  private func series<Series: PrometheusSeries>(
    _ label: String, suffix: String, _ kind: Kind, _ dimensions: [(String, String)], _ make: () -> Series
  ) -> Series {
    let name = PrometheusText.name(label, suffix: suffix)
    let labels = PrometheusText.labels(dimensions)
    return state.withLock { state in
      if let found = state.families[name]?.series[labels] as? Series { return found }
      let new = make()
      // A name that is taken by another kind, and a family that is full, count where nobody sees it.
      guard state.families[name, default: Family(kind: kind)].kind == kind,
        state.families[name]?.series[labels] == nil,
        (state.families[name]?.series.count ?? 0) < Self.largestFamily
      else { return new }
      state.families[name, default: Family(kind: kind)].series[labels] = new
      return new
    }
  }

  /// Every metric as it is now (text format 0.0.4), by name.
  public var text: String { text(labelled: []) }

  /// - Parameter constant: labels of every series that has none of that name itself.
  func text(labelled constant: [(String, String)]) -> String {
    let constant = constant.map { (name: $0.0, text: PrometheusText.labels([$0])) }
    let families = state.withLock { $0.families }
    return families.sorted { $0.key < $1.key }
      .map { name, family in
        let head =
          "# HELP \(name) \(PrometheusText.help(help[name] ?? "Of another library."))\n"
          + "# TYPE \(name) \(family.kind.rawValue)\n"
        return family.series.sorted { $0.key < $1.key }.reduce(head) { text, series in
          let missing = constant.filter { !PrometheusText.has($0.name, in: series.key) }.map(\.text)
          let labels = (series.key.isEmpty ? missing : [series.key] + missing).joined(separator: ",")
          return text + series.value.lines(name, labels: labels)
        }
      }.joined()
  }

  /// Takes away the series of a gauge, before those that are there now are set.
  func removeSeries(of name: String) { state.withLock { $0.families[name] = nil } }
}

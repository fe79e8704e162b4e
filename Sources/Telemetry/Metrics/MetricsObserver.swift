public import CoreMetrics
public import KMSCore
internal import Synchronization

/// Counts and times every event, through swift-metrics.
public final class MetricsObserver: AccessObserver, Sendable {
  private struct Name: Hashable {
    let operation: AccessEvent.Operation
    let provider: String?
  }

  private struct Series {
    let success: Counter
    let failure: Counter
    let duration: CoreMetrics.Timer
    var errors: [KMSError.Code: Counter] = [:]
  }

  private let factory: any MetricsFactory
  private let series = Mutex<[Name: Series]>([:])
  private let wait: CoreMetrics.Timer
  private let refused: Counter
  private let last: Gauge
  private let hits: Counter
  private let misses: Counter

  /// Operations that an application logs under names of its own are counted together beyond this many.
  private static let limit = 256
  private static let codeLimit = 64

  /// - Parameter factory: the process' own unless said otherwise.
  public init(factory: any MetricsFactory = MetricsSystem.factory) {
    self.factory = factory
    wait = CoreMetrics.Timer(label: MetricNames.logWait, dimensions: [], factory: factory)
    refused = Counter(label: MetricNames.logRefused, dimensions: [], factory: factory)
    last = Gauge(label: MetricNames.logLast, dimensions: [], factory: factory)
    hits = Counter(label: MetricNames.cache, dimensions: [("outcome", "hit")], factory: factory)
    misses = Counter(label: MetricNames.cache, dimensions: [("outcome", "miss")], factory: factory)
    // There from the start: Prometheus sees no increase in a counter that begins with one.
    refused.increment(by: 0)
    for rule in Alert.Rule.all { alerts(rule).increment(by: 0) }
    series.withLock { series in
      for operation in [AccessEvent.Operation.encrypt, .decrypt, .rotate] {
        let name = Name(operation: operation, provider: nil)
        let new = make(name)
        for counter in [new.success, new.failure] { counter.increment(by: 0) }
        series[name] = new
      }
    }
  }

  /// Counts the event.
  public func took(_ event: AccessEvent, afterNanoseconds waited: UInt64) {
    if waited > 0 { wait.recordNanoseconds(Int64(clamping: waited)) }
    last.record(Double(event.timestamp.nanoseconds) / 1e9)
    guard event.phase == .outcome else { return }
    let count = max(0, event.count ?? 1)
    let nanoseconds = Int64(clamping: event.duration.wholeNanoseconds)
    // A data operation's provider is only where its key is; its calls to that provider have events of their own.
    let provider = event.operation.isDataUse || event.operation == .rotate ? nil : event.provider
    let (counter, error, duration) = series.withLock { series in
      let name = self.name(event.operation, provider, among: series)
      let found = series[name] ?? make(name)
      let code = event.errorCode.map { found.errors.count < Self.codeLimit || found.errors[$0] != nil ? $0 : .other }
      let error = code.map { found.errors[$0] ?? makeError(name, $0) }
      if series[name] == nil { series[name] = found }
      if let code, found.errors[code] == nil { series[name]?.errors[code] = error }
      return (code == nil ? found.success : found.failure, error, found.duration)
    }
    counter.increment(by: count)
    error?.increment(by: count)
    // A histogram counts operations, also where only their mean is known.
    for _ in 0..<count { duration.recordNanoseconds(nanoseconds) }
    if event.operation.isDataUse, event.success { (event.cached ? hits : misses).increment(by: count) }
  }

  /// Counts an alert that was sent.
  public func sent(_ alert: Alert) {
    alerts(alert.rule).increment()
  }

  private func alerts(_ rule: Alert.Rule) -> Counter {
    Counter(label: MetricNames.alerts, dimensions: [("rule", rule.rawValue)], factory: factory)
  }

  /// Counts that the log did not take it.
  public func refused(_ event: AccessEvent) { refused.increment() }

  private func name(_ operation: AccessEvent.Operation, _ provider: String?, among known: [Name: Series]) -> Name {
    let name = Name(operation: operation, provider: provider)
    guard known.count >= Self.limit, known[name] == nil else { return name }
    return Name(operation: .init(rawValue: "other"), provider: nil)
  }

  private func make(_ name: Name) -> Series {
    let dimensions = dimensions(name)
    func counter(_ outcome: String) -> Counter {
      Counter(label: MetricNames.operations, dimensions: dimensions + [("outcome", outcome)], factory: factory)
    }
    return Series(
      success: counter("success"), failure: counter("failure"),
      duration: CoreMetrics.Timer(label: MetricNames.duration, dimensions: dimensions, factory: factory))
  }

  private func makeError(_ name: Name, _ code: KMSError.Code) -> Counter {
    Counter(
      label: MetricNames.errors, dimensions: dimensions(name) + [("code", code.rawValue)], factory: factory)
  }

  private func dimensions(_ name: Name) -> [(String, String)] {
    [("operation", name.operation.rawValue), ("provider", name.provider ?? "")]
  }
}

extension KMSError.Code {
  fileprivate static let other = Self(rawValue: "other")
}

internal import CoreMetrics
internal import DataAtRest
internal import KMSCore
internal import Synchronization
internal import Telemetry

/// Metrics, traces and alerts for one manager.
struct ManagerTelemetry {
  let observers: [any AccessObserver]
  private let refresher: StateRefresher?

  /// - Parameter attended: a person waits for the process, and sees its errors: no metrics file, and no alerts on
  ///   standard error.
  init(_ configuration: SuiteConfiguration, attended: Bool) throws {
    var settings = configuration.telemetry.alerts
    if attended { settings.destinations.removeAll { $0 == .standardError } }
    let prometheus = configuration.telemetry.metricsFile.flatMap { attended ? nil : ($0, PrometheusFactory()) }
    let system = MetricsSystem.factory
    let factory: any MetricsFactory =
      prometheus.map { MultiplexMetricsHandler(factories: [system, $0.1]) } ?? system
    let metrics = MetricsObserver(factory: factory)
    let monitor = AlertMonitor(
      settings, learningFrom: attended ? nil : configuration.accessLog.directory, onAlert: metrics.sent)
    // Keys and providers are asked for gauges only where somebody takes those: each question is in the log.
    let isMeasured = !attended && (prometheus != nil || !(system is NOOPMetricsHandler))
    refresher = isMeasured ? StateRefresher(StateMetrics(factory: factory, prometheus: prometheus?.1), monitor) : nil
    let file = try prometheus.map { path, factory in
      try MetricsFile(path, factory: factory, every: configuration.telemetry.metricsInterval)
    }
    let all: [(any AccessObserver)?] = [metrics, TracingObserver(), monitor, refresher, file]
    observers = all.compactMap(\.self)
  }

  /// Begins to ask the manager how its keys and providers stand.
  func watch(_ manager: DataAtRestManager) { refresher?.start(manager) }
}

/// Asks once a minute how keys and providers stand, until the log is about to be sealed.
final class StateRefresher: AccessObserver {
  private let metrics: StateMetrics
  private let monitor: AlertMonitor
  private let task = Mutex<Task<Void, Never>?>(nil)
  private static let pause = Duration.seconds(60)
  /// Stands in the log for these questions.
  private static let principal = "telemetry"

  init(_ metrics: StateMetrics, _ monitor: AlertMonitor) {
    self.metrics = metrics
    self.monitor = monitor
  }

  func start(_ manager: DataAtRestManager) {
    let (metrics, monitor) = (metrics, monitor)
    task.withLock { task in
      task = Task.detached(priority: .utility) { [weak manager] in
        while !Task.isCancelled {
          guard let manager else { return }
          await Self.refresh(manager, metrics, monitor)
          try? await Task.sleep(for: Self.pause)
        }
      }
    }
  }

  private static func refresh(_ manager: DataAtRestManager, _ metrics: StateMetrics, _ monitor: AlertMonitor) async {
    // What fails is in the log and among the errors, and keeps the other providers from nothing.
    for report in (try? await manager.health(principal: principal)) ?? [] {
      metrics.record(report.health, of: report.provider)
    }
    guard !Task.isCancelled,
      let (versions, unreachable) = try? await manager.reachableKeyVersions(principal: principal)
    else { return }
    let interval = manager.configuration.keyRotationInterval
    metrics.record(versions, isComplete: unreachable.isEmpty, rotationInterval: interval)
    monitor.check(versions, rotationInterval: interval)
  }

  func took(_ event: AccessEvent, afterNanoseconds waited: UInt64) {}

  func stop() async {
    let task = task.withLock { $0 }
    task?.cancel()
    await task?.value
  }

  deinit { task.withLock { $0?.cancel() } }
}

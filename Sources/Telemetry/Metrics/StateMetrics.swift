public import CoreMetrics
public import KMSCore

/// Gauges of how keys and providers stand, set from time to time.
public struct StateMetrics: Sendable {
  private let factory: any MetricsFactory
  private let prometheus: PrometheusFactory?

  /// - Parameters:
  ///   - factory: takes the gauges.
  ///   - prometheus: forgets those of keys that are gone; one that `factory` brings the gauges to.
  public init(factory: any MetricsFactory, prometheus: PrometheusFactory? = nil) {
    self.factory = factory
    self.prometheus = prometheus ?? factory as? PrometheusFactory
  }

  /// Ages, states and due rotations of all keys.
  ///
  /// - Parameter isComplete: no provider has versions that are not among these.
  public func record(
    _ versions: [KeyVersion], isComplete: Bool = true, rotationInterval: Duration, now: Timestamp = .now()
  ) {
    let ages = KeyAges(versions, isComplete: isComplete, rotationInterval: rotationInterval, now: now)
    for name in [MetricNames.keyAge, MetricNames.keyVersions, MetricNames.keyOverdue] {
      prometheus?.removeSeries(of: name)  // of versions and keys that are gone
    }
    gauge(MetricNames.rotationInterval, [], Double(rotationInterval.components.seconds))
    let overdue = Set(ages.overdue.map(\.key))
    for (key, versions) in Dictionary(grouping: versions, by: \.key) {
      let name = [("key", key.description)]
      let rotating = versions.filter { $0.purpose != .recovery }
      // Of keys that rotate only: an age beyond the interval is an alert.
      if let made = rotating.current?.id.created {
        gauge(MetricNames.keyAge, name, max(0, Double(now.seconds - made.seconds)))
      }
      if !rotating.isEmpty {
        gauge(MetricNames.keyOverdue, name, overdue.contains(key) ? 1 : 0)
      }
      for (state, versions) in Dictionary(grouping: versions, by: \.state) {
        gauge(MetricNames.keyVersions, name + [("state", state.rawValue)], Double(versions.count))
      }
    }
  }

  /// Whether a provider serves, and its sessions.
  public func record(_ health: ProviderHealth, of provider: ProviderIdentity) {
    let name = [("provider", provider.name)]
    gauge(MetricNames.providerUp, name, health.isServing ? 1 : 0)
    guard let sessions = health.sessions else { return }
    gauge(MetricNames.sessions, name + [("state", "busy")], Double(sessions.busy))
    gauge(MetricNames.sessions, name + [("state", "idle")], Double(sessions.open - sessions.busy))
    gauge(MetricNames.sessionLimit, name, Double(sessions.limit))
  }

  private func gauge(_ name: String, _ dimensions: [(String, String)], _ value: Double) {
    Gauge(label: name, dimensions: dimensions, factory: factory).record(value)
  }
}

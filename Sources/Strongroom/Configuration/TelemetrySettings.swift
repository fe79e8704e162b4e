internal import KMSCore
public import SystemPackage
public import Telemetry

/// What a configuration says of `metrics` and `alerts`.
public struct TelemetrySettings: Sendable, Hashable {
  /// File for node_exporter's textfile collector; nil for none.
  public var metricsFile: FilePath?
  /// How often it is written.
  public var metricsInterval: Duration
  /// Rules, their limits, and where alerts go.
  public var alerts: AlertSettings

  init(_ settings: Settings, folder: FilePath, rotationInterval: Duration) throws {
    metricsFile = try settings.converted("metrics.file", "the path of a file that ends in .prom") { text in
      text.hasSuffix(".prom") ? folder.pushing(FilePath(text)) : nil
    }
    let atLeastASecond = { (text: String) in Units.duration(text).flatMap { $0 >= .seconds(1) ? $0 : nil } }
    metricsInterval = try settings.converted("metrics.every", "1s or more", atLeastASecond) ?? .seconds(15)

    let standard = AlertSettings()
    alerts = standard
    alerts.rotationInterval = rotationInterval
    alerts.repeatAfter = try settings.duration("alerts.repeat-after") ?? standard.repeatAfter
    alerts.learning = try settings.duration("alerts.learning") ?? standard.learning
    func count(_ path: String, _ range: ClosedRange<Int>) throws -> Int? {
      try settings.converted(path, "\(range.lowerBound) to \(range.upperBound)") { text in
        Int(text).flatMap { range.contains($0) ? $0 : nil }
      }
    }
    func factor(_ path: String) throws -> Double? {
      try settings.converted(path, "a number from 1.5 to 1000") { text in
        Double(text).flatMap { (1.5...1000).contains($0) ? $0 : nil }
      }
    }
    alerts.failures = try count("alerts.failed-operations.count", 1...1_000_000) ?? standard.failures
    alerts.failurePercent = try count("alerts.failed-operations.percent", 0...100) ?? standard.failurePercent
    alerts.rateFactor = try factor("alerts.rate.factor") ?? standard.rateFactor
    alerts.rateAtLeast = try count("alerts.rate.at-least", 1...1_000_000_000) ?? standard.rateAtLeast
    alerts.contextsFactor = try factor("alerts.many-contexts.factor") ?? standard.contextsFactor
    alerts.contextsAtLeast = try count("alerts.many-contexts.at-least", 2...1_000_000_000) ?? standard.contextsAtLeast
    alerts.latencyFactor = try factor("alerts.latency.factor") ?? standard.latencyFactor
    alerts.off = try Set((settings.list("alerts.disabled") ?? []).map(Self.rule))
    alerts.destinations =
      try settings.list("alerts.send-to")?.map { try Self.destination($0, folder: folder) } ?? standard.destinations
  }

  private static func rule(_ name: String) throws -> Alert.Rule {
    guard let rule = Alert.Rule.all.first(where: { $0.rawValue == name }) else {
      throw KMSError(
        .configurationInvalid, "alerts.disabled: there is no rule '\(name.prefix(40))'",
        advice: "Rules are: \(Alert.Rule.all.map(\.rawValue).joined(separator: ", ")).")
    }
    return rule
  }

  private static func destination(_ text: String, folder: FilePath) throws -> AlertSettings.Destination {
    if text == "stderr" { return .standardError }
    for (prefix, make) in [("command:", AlertSettings.Destination.command), ("file:", AlertSettings.Destination.file)]
    where text.hasPrefix(prefix) && text.utf8.count > prefix.utf8.count {
      return make(folder.pushing(FilePath(String(text.dropFirst(prefix.count)))))
    }
    throw KMSError(
      .configurationInvalid, "alerts.send-to: '\(text.prefix(60))' is not known",
      advice: "Allowed are stderr, command:PATH and file:PATH.")
  }
}

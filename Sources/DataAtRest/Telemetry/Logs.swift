internal import AccessLog
internal import Envelope
public import KMSCore
public import Telemetry

/// One rotation, as the access log holds it.
public struct KeyRotationLog: Sendable, Hashable {
  /// When.
  public let timestamp: Timestamp
  /// The key's name.
  public let keyID: KeyName
  /// Why it was rotated.
  public let reason: String
  /// Whether it went well.
  public let success: Bool
  /// What went wrong; nil on success.
  public let errorMessage: String?

  /// One entry. The time is now unless given.
  public init(
    timestamp: Timestamp = .now(), keyID: KeyName, reason: String, success: Bool, errorMessage: String? = nil
  ) {
    self.timestamp = timestamp
    self.keyID = keyID
    self.reason = reason
    self.success = success
    self.errorMessage = errorMessage
  }
}

/// One access to a key, as the access log holds it.
public struct KMSAccessLog: Sendable, Hashable {
  /// When.
  public let timestamp: Timestamp
  /// The key's name.
  public let keyID: KeyName
  /// What was done: `wrap`, `decrypt` ….
  public let operation: String
  /// Whether it went well.
  public let success: Bool
  /// What went wrong; nil on success.
  public let errorMessage: String?
  /// The principal; nil when nobody said.
  public let accessedBy: String?

  /// One entry. The time is now unless given.
  public init(
    timestamp: Timestamp = .now(), keyID: KeyName, operation: String, success: Bool, errorMessage: String? = nil,
    accessedBy: String? = nil
  ) {
    self.timestamp = timestamp
    self.keyID = keyID
    self.operation = operation
    self.success = success
    self.errorMessage = errorMessage
    self.accessedBy = accessedBy
  }
}

/// An application's own entries, and the report. The suite's own calls are logged without asking.
extension DataAtRestManager {
  /// Adds a rotation that was made outside the suite.
  public func logKeyRotation(_ entry: KeyRotationLog) async throws {
    try await reporter.report(
      AccessEvent(
        .rotate, timestamp: entry.timestamp, key: entry.keyID, access: Access(principal: Access.currentPrincipal),
        errorCode: entry.success ? nil : .providerFailed, errorMessage: entry.errorMessage, reason: entry.reason))
  }

  /// Adds an access that was made outside the suite.
  public func logKMSAccess(_ entry: KMSAccessLog) async throws {
    try await reporter.report(
      AccessEvent(
        .init(rawValue: entry.operation), timestamp: entry.timestamp, key: entry.keyID,
        access: Access(principal: entry.accessedBy ?? Access.currentPrincipal),
        errorCode: entry.success ? nil : .providerFailed, errorMessage: entry.errorMessage))
  }

  /// What happened in a period, from the access log, and the keys that there were at its end, in their states of now.
  /// Providers that cannot be asked for their keys are named in it.
  ///
  /// - Parameters:
  ///   - since: begin of the period; seven days before its end when nil.
  ///   - until: end of the period; now when nil.
  ///   - alerts: rules that find incidents.
  /// - Throws: ``KMSError/Code/notSupported`` when the manager was given no log folder, ``KMSError/Code/invalidInput``
  ///   for a period that ends before it begins.
  public func generateTelemetryReport(
    since: Timestamp? = nil, until: Timestamp? = nil, alerts: AlertSettings = AlertSettings()
  ) async throws -> TelemetryReport {
    guard let logFolder else {
      throw KMSError(
        .notSupported, "the access log is not a folder that can be read back",
        advice: "Make the manager with 'logFolder', or read the log where it goes.")
    }
    let end = until ?? .now()
    let since = since ?? end.advanced(by: .seconds(-7 * 86_400))
    guard since < end else {
      throw KMSError(.invalidInput, "the period ends at \(end), before it begins", advice: "Give an earlier begin.")
    }
    let (known, unreachable) = try await reachableKeyVersions()
    let versions = known.filter { version in version.id.created.map { $0 <= end } ?? true }
    let interval = configuration.keyRotationInterval
    return try await fileJob { _ in
      var report = TelemetryReport(
        versions: versions, unreachable: unreachable, rotationInterval: interval, since: since, now: end,
        alerts: alerts)
      report.damaged = try AccessLogReader(directory: logFolder).forEach(matching: report.filter) {
        record, _ in report.add(record)
      }.damaged
      return report
    }
  }
}

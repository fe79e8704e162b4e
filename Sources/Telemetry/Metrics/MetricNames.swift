/// Names of the suite's metrics, after Prometheus' conventions, and what they mean.
public enum MetricNames {
  static let operations = "strongroom_operations_total"
  static let errors = "strongroom_errors_total"
  static let duration = "strongroom_operation_duration_seconds"
  static let cache = "strongroom_cache_lookups_total"
  static let logWait = "strongroom_access_log_wait_seconds"
  static let logRefused = "strongroom_access_log_refused_total"
  static let logLast = "strongroom_access_log_last_event_timestamp_seconds"
  static let alerts = "strongroom_alerts_total"
  static let providerUp = "strongroom_provider_up"
  static let sessions = "strongroom_provider_sessions"
  static let sessionLimit = "strongroom_provider_sessions_limit"
  static let keyAge = "strongroom_key_age_seconds"
  static let keyVersions = "strongroom_key_versions"
  static let keyOverdue = "strongroom_key_rotation_overdue"
  static let written = "strongroom_metrics_written_timestamp_seconds"
  static let rotationInterval = "strongroom_key_rotation_interval_seconds"

  /// What each metric means, by its name.
  public static let help: [String: String] = [
    operations: "Data operations and provider calls that are in the access log, by outcome.",
    errors: "Failed data operations and provider calls, by the error's code.",
    duration: "Time that data operations and provider calls took.",
    cache: "Data operations that could be served from the cache, by whether they were.",
    logWait: "Time that calls waited for the access log to take their events.",
    logRefused: "Events that the access log did not take; their calls failed.",
    logLast: "When the access log last took an event, in Unix time.",
    alerts: "Alerts that the suite's own rules sent, by rule.",
    providerUp: "Whether the provider could serve when it was last asked.",
    sessions: "Sessions that are open to the provider's token, by state.",
    sessionLimit: "Most sessions that are opened to the provider's token.",
    keyAge: "Age of a key's current version. Absent when nobody knows it, and for recovery keys, which do not rotate.",
    keyVersions: "Versions of a key, by state.",
    keyOverdue: "Whether a key's rotation is overdue.",
    written: "When the file of metrics was last written, in Unix time.",
    rotationInterval: "Age from which a key's current version is due for rotation.",
  ]
}

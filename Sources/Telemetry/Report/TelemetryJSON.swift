import AccessLog
import KMSCore
import SystemPackage

extension TelemetryReport {
  /// The report as one JSON object. Fields are only ever added.
  ///
  /// | field | content |
  /// |---|---|
  /// | `since`, `until` | the period, RFC 3339 |
  /// | `operations`, `failures`, `intents` | numbers of records |
  /// | `rotations` | `count`, `failed`, and `recent` events |
  /// | `overdue_rotations` | `key_id`, `key_version` and `age_seconds` of the current version, `interval_seconds` |
  /// | `interrupted_rotations` | names of keys with an older active version beside the current one |
  /// | `unreachable_providers` | those whose keys are missing here: `provider`, `error_code`, `error_message` |
  /// | `failed_rotations` | keys whose last rotation failed: `key_id`, `count` since the last good one, `last` event |
  /// | `access` | `by_key`, `by_principal`, `by_operation`, `by_outcome`: `name`, `count`, `failed`; `by_hour`: `hour` (UTC) instead of the name |
  /// | `recent_failures`, `recent_events` | the last 20 of each, oldest first, fields as in the log |
  /// | `key_versions` | `key_id`, `key_version`, `provider`, `purpose`, `state`, `created`, `age_seconds` |
  /// | `latency` | a provider's operation: `count`, `p50_us`, `p95_us`, `p99_us`, `max_us` (microseconds) |
  /// | `performance` | `operations_per_second`, `highest_per_second` in any step of the timeline, `cache_lookups`, `cache_hits` |
  /// | `timeline` | `step_seconds`, and `steps`: `begin`, `count`, `failed` |
  /// | `security_incidents` | what the alert rules find: `rule`, `first`, `last`, `count`, `message`, and `key_id`, `principal`, `provider`, `operation` where it is about one; oldest first |
  /// | `damaged` | `count`, and the first `lines`: `file`, `line`, `damage` |
  public func json() -> String {
    JSONValue.object([
      ("since", .string(since.description)),
      ("until", .string(now.description)),
      ("operations", .integer(Int64(outcomes.total))),
      ("failures", .integer(Int64(outcomes.failed))),
      ("intents", .integer(Int64(intents))),
      (
        "rotations",
        .object(Self.counts(rotations) + [("recent", .array(recentRotations.elements.map(Self.event)))])
      ),
      ("overdue_rotations", .array(keys.overdue.map(overdue))),
      ("interrupted_rotations", .array(keys.interrupted.map { .string($0.description) })),
      ("failed_rotations", .array(failedRotations.sorted { $0.key < $1.key }.map(Self.failed))),
      ("unreachable_providers", .array(unreachable.sorted { $0.key < $1.key }.map(Self.unreachable))),
      (
        "access",
        .object([
          ("by_key", Self.tally(byKey)), ("by_principal", Self.tally(byPrincipal)),
          ("by_operation", Self.tally(byOperation)), ("by_outcome", Self.tally(byOutcome)),
          (
            "by_hour",
            .array(byHour.enumerated().map { .object([("hour", .integer(Int64($0)))] + Self.counts($1)) })
          ),
        ])
      ),
      ("recent_failures", .array(recentFailures.elements.map(Self.event))),
      ("recent_events", .array(recent.elements.map(Self.event))),
      ("key_versions", .array(keys.rows.map(Self.version))),
      ("latency", .array(latencyRows.map(Self.latency))),
      (
        "performance",
        .object([
          ("operations_per_second", .thousandths(Int64(min(rate, 1e12) * 1000))),
          ("highest_per_second", .thousandths(Int64(min(timeline.highestRate, 1e12) * 1000))),
          ("cache_lookups", .integer(Int64(cache.lookups))), ("cache_hits", .integer(Int64(cache.hits))),
        ])
      ),
      (
        "timeline",
        .object([
          ("step_seconds", .integer(timeline.step)),
          (
            "steps",
            .array(
              timeline.steps.map { .object([("begin", .string($0.begin.description))] + Self.counts($0.count)) })
          ),
        ])
      ),
      ("security_incidents", .array(incidents.map(Self.incident))),
      ("damaged", Self.damage(damaged)),
    ]).text
  }

  private typealias Members = [(name: String, value: JSONValue?)]

  private static func counts(_ count: Tally.Count) -> Members {
    [("count", .integer(Int64(count.total))), ("failed", .integer(Int64(count.failed)))]
  }

  private static func tally(_ tally: Tally) -> JSONValue {
    .array(tally.sorted.map { .object([("name", .string($0.name))] + counts($0.count)) })
  }

  private static func event(_ record: AccessRecord) -> JSONValue {
    .object([
      ("timestamp", .string(record.timestamp.description)),
      ("operation", .string(record.operation.rawValue)),
      ("key_id", record.keyID.map(JSONValue.string)),
      ("key_version", record.keyVersion.map(JSONValue.string)),
      ("provider", record.provider.map(JSONValue.string)),
      ("success", record.success.map(JSONValue.bool)),
      ("error_code", record.errorCode.map(JSONValue.string)),
      ("error_message", record.errorMessage.map(JSONValue.string)),
      ("accessed_by", .string(record.accessedBy)),
      ("request_id", record.requestID.map(JSONValue.string)),
      ("reason", record.reason.map(JSONValue.string)),
      ("duration_us", record.durationMicroseconds.map { .thousandths(Int64(max(-1e18, min($0 * 1000, 1e18)))) }),
    ])
  }

  private static func version(_ row: KeyAges.Row) -> JSONValue {
    .object([
      ("key_id", .string(row.version.key.description)),
      ("key_version", .string(row.version.id.description)),
      ("provider", .string(row.version.provider)),
      ("purpose", .string(row.version.purpose.rawValue)),
      ("state", .string(row.version.state.rawValue)),
      ("created", row.version.id.created.map { .string($0.description) }),
      ("age_seconds", row.age.map { .integer($0.components.seconds) }),
    ])
  }

  private func overdue(_ overdue: KeyAges.Overdue) -> JSONValue {
    .object([
      ("key_id", .string(overdue.key.description)),
      ("key_version", overdue.current.map { .string($0.version.id.description) }),
      ("age_seconds", overdue.current?.age.map { .integer($0.components.seconds) }),
      ("interval_seconds", .integer(rotationInterval.components.seconds)),
    ])
  }

  private static func unreachable(_ name: String, _ error: KMSError) -> JSONValue {
    .object([
      ("provider", .string(name)), ("error_code", .string(error.code.rawValue)),
      ("error_message", .string(error.message)),
    ])
  }

  private static func failed(_ key: String, _ failed: FailedRotations) -> JSONValue {
    .object([
      ("key_id", .string(key)), ("count", .integer(Int64(failed.count))), ("last", event(failed.last)),
    ])
  }

  private static func latency(_ name: ProviderOperation, _ latency: LatencyHistogram) -> JSONValue {
    func microseconds(_ part: Double) -> JSONValue { .thousandths(Int64(latency.percentile(part))) }
    return .object([
      ("provider", .string(name.provider)),
      ("operation", .string(name.operation)),
      ("count", .integer(Int64(latency.count))),
      ("p50_us", microseconds(0.5)),
      ("p95_us", microseconds(0.95)),
      ("p99_us", microseconds(0.99)),
      ("max_us", microseconds(1)),
    ])
  }

  private static func incident(_ incident: Incidents.Incident) -> JSONValue {
    let alert = incident.alert
    return .object([
      ("rule", .string(alert.rule.rawValue)), ("first", .string(alert.timestamp.description)),
      ("last", .string(incident.last.description)), ("count", .integer(Int64(incident.count))),
      ("message", .string(alert.message)), ("key_id", alert.key.map(JSONValue.string)),
      ("principal", alert.principal.map(JSONValue.string)), ("provider", alert.provider.map(JSONValue.string)),
      ("operation", alert.operation.map(JSONValue.string)),
    ])
  }

  private static func damage(_ damaged: DamagedLines) -> JSONValue {
    .object([
      ("count", .integer(Int64(damaged.count))),
      (
        "lines",
        .array(
          damaged.lines.map {
            .object([
              ("file", .string($0.file.string)), ("line", .integer(Int64($0.number))),
              ("damage", .string($0.damage.rawValue)),
            ])
          })
      ),
    ])
  }
}

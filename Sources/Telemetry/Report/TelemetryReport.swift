public import AccessLog
public import KMSCore

/// What happened to the keys in a period: rotations, access patterns, failures, key ages, performance, incidents.
///
/// Records are added one at a time; memory does not grow with their number.
/// ```swift
/// var report = TelemetryReport(versions: versions, rotationInterval: .seconds(86_400), since: since)
/// report.damaged = try reader.forEach(matching: report.filter) { record, _ in report.add(record) }.damaged
/// print(report.text)
/// ```
public struct TelemetryReport: Sendable {
  /// The newest events and rotations that are listed.
  static let recentLimit = 20
  /// Kinds of calls whose latencies are told; each has 60 KiB of counts.
  static let latencyLimit = 200

  /// A summary is of a second. More is not what the log wrote, and its sum may be no number.
  static let mostInOneRecord = 1_000_000_000

  let since: Timestamp
  let now: Timestamp
  let rotationInterval: Duration
  let keys: KeyAges
  /// Why providers could not be asked for their keys, by name.
  let unreachable: [String: KMSError]
  /// Lines of the log that could not be read.
  public var damaged = DamagedLines()

  /// Outcomes, failures among them, and intents.
  private(set) var outcomes = Tally.Count()
  private(set) var intents = 0
  private(set) var rotations = Tally.Count()
  private(set) var recentRotations = Last<AccessRecord>(recentLimit)
  /// By key: rotations that failed since its last good one.
  private(set) var failedRotations: [String: FailedRotations] = [:]
  private(set) var byKey = Tally()
  private(set) var byPrincipal = Tally()
  private(set) var byOperation = Tally()
  /// `success`, or the error's code.
  private(set) var byOutcome = Tally()
  /// Hours of the day in UTC, 0 to 23.
  private(set) var byHour = [Tally.Count](repeating: Tally.Count(), count: 24)
  private(set) var recent = Last<AccessRecord>(recentLimit)
  private(set) var recentFailures = Last<AccessRecord>(recentLimit)
  private(set) var latencies: [ProviderOperation: LatencyHistogram] = [:]
  private(set) var timeline: Timeline
  /// Encrypts and decrypts that went well, and those of them that met no provider.
  private(set) var cache = (lookups: 0, hits: 0)
  private(set) var found = Incidents()
  private var rules: AlertRules
  private let learnsFrom: Timestamp

  struct FailedRotations: Sendable, Hashable {
    var count = 0
    var last: AccessRecord
  }

  struct ProviderOperation: Sendable, Hashable {
    let provider: String
    let operation: String
  }

  /// - Parameters:
  ///   - versions: all key versions there are now.
  ///   - unreachable: providers that could not be asked for theirs, by name, and why.
  ///   - rotationInterval: age from which a key's current version is overdue.
  ///   - since: begin of the period; earlier records are passed over.
  ///   - now: end of the period, and the moment that ages are told at.
  ///   - alerts: rules that find incidents; the same as for alerts when things happen.
  public init(
    versions: [KeyVersion], unreachable: [String: KMSError] = [:], rotationInterval: Duration, since: Timestamp,
    now: Timestamp = .now(), alerts: AlertSettings = AlertSettings()
  ) {
    self.since = since
    self.now = now
    self.rotationInterval = rotationInterval
    self.unreachable = unreachable
    keys = KeyAges(versions, isComplete: unreachable.isEmpty, rotationInterval: rotationInterval, now: now)
    timeline = Timeline(from: since, to: now)
    var alerts = alerts
    alerts.rotationInterval = alerts.rotationInterval ?? rotationInterval
    rules = AlertRules(alerts)
    learnsFrom = since.advanced(by: .zero - alerts.learning)
  }

  /// The records that are to be added: those of the period, and those before from which is learned what is usual.
  public var filter: AccessFilter {
    var filter = AccessFilter(since: learnsFrom)
    filter.includesOwn = true
    return filter
  }

  /// A report of records that are at hand.
  public init(
    records: some Sequence<AccessRecord>, versions: [KeyVersion], rotationInterval: Duration, since: Timestamp,
    now: Timestamp = .now()
  ) {
    self.init(versions: versions, rotationInterval: rotationInterval, since: since, now: now)
    for record in records { add(record) }
  }

  /// Takes a record into account, if it is of the period.
  public mutating func add(_ record: AccessRecord) {
    guard record.timestamp >= learnsFrom, record.timestamp <= now else { return }
    let isOfPeriod = record.timestamp >= since
    rules.observe(Observation(record)) { if isOfPeriod { found.add($0) } }
    guard isOfPeriod, !record.type.isOwn else { return }
    guard let success = record.success else {
      intents += 1
      return
    }
    let times = min(max(1, record.count), Self.mostInOneRecord)
    outcomes.add(times, success: success)
    byKey.add(record.keyID ?? "(none)", times, success: success)
    byPrincipal.add(record.accessedBy, times, success: success)
    byOperation.add(record.operation.rawValue, times, success: success)
    byOutcome.add(success ? "success" : record.errorCode ?? "(no code)", times, success: success)
    byHour[Int(record.timestamp.seconds.modulo(86_400) / 3600)].add(times, success: success)
    timeline.add(record.timestamp, times, success: success)
    if success, record.operation.isDataUse {
      cache.lookups += times
      if record.cached { cache.hits += times }
    }
    recent.add(record)
    if !success { recentFailures.add(record) }
    if record.operation == .rotate {
      rotations.add(success: success)
      recentRotations.add(record)
      noteRotation(record, success: success)
    }
    if let provider = record.provider, let duration = record.durationMicroseconds, !record.cached {
      let name = ProviderOperation(provider: provider, operation: record.operation.rawValue)
      guard latencies.count < Self.latencyLimit || latencies[name] != nil else { return }
      latencies[name, default: LatencyHistogram()]
        .add(nanoseconds: UInt64(max(0, min(duration * 1000, 1e18))), count: times)
    }
  }

  private mutating func noteRotation(_ record: AccessRecord, success: Bool) {
    guard let key = record.keyID else { return }
    if success {
      failedRotations[key] = nil
    } else if failedRotations.count < Tally.limit || failedRotations[key] != nil {
      failedRotations[key, default: FailedRotations(last: record)].count += 1
      failedRotations[key]?.last = record
    }
  }

  /// Sorted by provider, then by operation.
  var latencyRows: [(name: ProviderOperation, latency: LatencyHistogram)] {
    latencies.sorted { ($0.key.provider, $0.key.operation) < ($1.key.provider, $1.key.operation) }
      .map { ($0.key, $0.value) }
  }
}

extension TelemetryReport {
  /// Operations a second, over the whole period.
  var rate: Double { Double(outcomes.total) / Double(max(1, now.seconds - since.seconds)) }

  /// Part of encrypts and decrypts that met no provider, from 0 to 1; nil when there were none.
  var cacheHitRate: Double? { cache.lookups == 0 ? nil : Double(cache.hits) / Double(cache.lookups) }

  /// What the rules found, and what stands in the log that should not.
  var incidents: [Incidents.Incident] {
    guard damaged.count > 0 else { return found.all }
    let alert = Alert(.logTrouble, at: now, "the access log has \(damaged.count) damaged lines")
    return found.all + [Incidents.Incident(alert: alert, last: now, count: damaged.count)]
  }
}

extension Tally.Count {
  mutating func add(_ times: Int = 1, success: Bool) {
    total += times
    if !success { failed += times }
  }
}

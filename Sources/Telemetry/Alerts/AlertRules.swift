internal import KMSCore

/// All rules over a stream of observations, in the order of their time. State is bounded: 1,000 keys, 1,000
/// principals, 256 kinds of provider calls; those that were not used for long give way.
struct AlertRules: Sendable {
  private let settings: AlertSettings
  private let learning: Int64
  private let overdueAge: Int64?
  /// What was watched before does not count: not all of it was seen.
  private var watchedFrom = Int64.min
  private var keys = CappedMap<String, KeyWatch>(limit: 1000)
  private var principals = CappedMap<String, PrincipalWatch>(limit: 1000)
  private var calls = CappedMap<ProviderCall, LatencyWatch>(limit: 256)

  private struct ProviderCall: Hashable, Sendable {
    let provider, operation: String
  }

  init(_ settings: AlertSettings) {
    self.settings = settings
    learning = settings.learning.components.seconds
    // A tenth late is still in time: schedules look now and then.
    overdueAge = settings.rotationInterval.map { $0.components.seconds + max(3600, $0.components.seconds / 10) }
  }

  /// Nothing is unusual before it was watched for a whole time of learning from now on.
  mutating func learnAnew(from now: Timestamp) { watchedFrom = now.seconds }

  private func hasLearned(since: Int64, at now: Timestamp) -> Bool { now.seconds - max(since, watchedFrom) >= learning }

  /// Alerts that this one gives, without regard to those that were given before.
  mutating func observe(_ event: Observation, _ found: (Alert) -> Void) {
    switch event.own {
    case .failedCheckpoint:
      report(
        Alert(
          .checkpointFailed, at: event.timestamp,
          "the access log's checkpoint could not be signed: \(event.errorCode ?? "?")"), found)
    case .lostCopies:
      report(Alert(.logTrouble, at: event.timestamp, "copies of the access log were lost on their way"), found)
    case .other, nil: break
    }
    guard event.own == nil else { return }
    guard event.phase == .outcome else { return }
    if let key = event.key { watch(key: key, event, found) }
    if event.key == nil, event.errorCode != nil, event.operation.isDataUse { watch(key: "", event, found) }
    watchPrincipal(event, found)
    watchLatency(event, found)
  }

  /// Keys whose rotation is overdue, as a look at the keys themselves tells.
  mutating func observe(overdue: KeyAges.Overdue, at now: Timestamp, _ found: (Alert) -> Void) {
    let age = overdue.current?.age.map { "its current version is \(TextTable.age($0)) old" }
    report(
      Alert(
        .rotationOverdue, at: now, key: overdue.key.description,
        "key \(overdue.key) is overdue for rotation: \(age ?? "it has no active version of known age")"), found)
  }

  private func report(_ alert: @autoclosure () -> Alert, _ found: (Alert) -> Void) {
    let alert = alert()
    if !settings.off.contains(alert.rule) { found(alert) }
  }

  // MARK: Keys

  private mutating func watch(key: String, _ event: Observation, _ found: (Alert) -> Void) {
    let slot = keys.slot(key) { KeyWatch(since: event.timestamp) }
    if event.operation.isDataUse,
      let (failed, all) = keys[slot].failures.add(
        second: event.timestamp.seconds, count: event.count, failed: event.errorCode != nil),
      failed >= settings.failures, failed * 100 >= all * settings.failurePercent
    {
      report(
        Alert(
          .failedOperations, at: event.timestamp, key: key.isEmpty ? nil : key,
          "\(failed) of \(all) encrypts and decrypts \(key.isEmpty ? "of unknown keys" : "under key \(key)") failed "
            + "in five minutes, the last with \(event.errorCode ?? "?")"), found)
    }
    guard !key.isEmpty else { return }
    if keys[slot].isNew(event.principal), hasLearned(since: keys[slot].since, at: event.timestamp) {
      report(
        Alert(
          .newPrincipal, at: event.timestamp, key: key, principal: event.principal,
          "\(event.principal) uses key \(key) for the first time (\(event.operation))"), found)
    }
    if event.operation == .rotate, let error = event.errorCode {
      report(
        Alert(.rotationFailed, at: event.timestamp, key: key, "a rotation of key \(key) failed: \(error)"), found)
    }
    if event.operation == .encrypt, event.errorCode == nil, let overdueAge, let made = event.versionMade,
      event.timestamp.seconds - made.seconds > overdueAge
    {
      let age = TextTable.age(event.timestamp.since(made))
      report(
        Alert(
          .rotationOverdue, at: event.timestamp, key: key,
          "key \(key) is overdue for rotation: data is encrypted under a version that is \(age) old"), found)
    }
  }

  // MARK: Principals

  private mutating func watchPrincipal(_ event: Observation, _ found: (Alert) -> Void) {
    let slot = principals.slot(event.principal) { PrincipalWatch(since: event.timestamp) }
    let isKnown = hasLearned(since: principals[slot].since, at: event.timestamp)
    if principals[slot].isNew(event.operation), isKnown {
      report(
        Alert(
          .newOperation, at: event.timestamp, key: event.key, principal: event.principal,
          operation: event.operation.rawValue, "\(event.principal) does \(event.operation) for the first time"), found)
    }
    guard event.operation.isDataUse else { return }
    principals[slot].enterWindow(of: event.timestamp.seconds, settings)
    if principals[slot].operations.add(event.count), isKnown {
      report(
        Alert(
          .rate, at: event.timestamp, principal: event.principal,
          "\(event.principal) made \(principals[slot].operations.count) encrypts and decrypts in five minutes; "
            + "its peak was \(Int(principals[slot].operations.peak))"), found)
    }
    guard event.operation == .decrypt, event.errorCode == nil else { return }
    var isUnusual = event.contextTag.map { principals[slot].add(context: $0) } ?? false
    for tag in event.contexts.all where principals[slot].add(context: tag) { isUnusual = true }
    if let count = event.contextCount, principals[slot].contexts.rise(byAtMost: count) { isUnusual = true }
    // What an older version wrote teaches nothing of contexts.
    if event.hidesContexts { principals[slot].contextsSince = event.timestamp.seconds }
    if isUnusual, hasLearned(since: principals[slot].contextsSince, at: event.timestamp) {
      report(
        Alert(
          .manyContexts, at: event.timestamp, principal: event.principal,
          "\(event.principal) decrypted data of about \(principals[slot].contexts.count) contexts in five minutes; "
            + "its peak was \(Int(principals[slot].contexts.peak))"), found)
    }
  }

  // MARK: Providers

  private mutating func watchLatency(_ event: Observation, _ found: (Alert) -> Void) {
    guard let provider = event.provider, !event.operation.isDataUse, event.errorCode == nil, !event.isCached else {
      return
    }
    let call = ProviderCall(provider: provider, operation: event.operation.rawValue)
    let slot = calls.slot(call) { LatencyWatch() }
    guard
      let (now, usual) = calls[slot].add(
        event.nanoseconds, second: event.timestamp.seconds, factor: settings.latencyFactor)
    else { return }
    report(
      Alert(
        .latency, at: event.timestamp, provider: provider, operation: call.operation,
        "a tenth of provider \(provider)'s \(call.operation) calls takes \(TextTable.latency(now)) or more; "
          + "\(TextTable.latency(usual)) is usual"), found)
  }
}

extension AlertRules {
  /// Keys, principals and kinds of calls that are remembered.
  var sizes: [Int] { [keys.count, principals.count, calls.count] }
}

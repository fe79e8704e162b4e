internal import AccessLog
internal import Dispatch
public import KMSCore
internal import Synchronization
public import SystemPackage

/// Looks at every event as it happens, and sends alerts. Sending never holds up a call: it is done by a thread of its
/// own, and what more than a hundred alerts wait for is dropped and counted.
public final class AlertMonitor: AccessObserver, Sendable {
  private struct State {
    var rules: AlertRules
    var memory: AlertMemory
    /// While the log is read for what is usual; nil when that is done.
    var waiting: [Observation]?
    /// Events that there was no room for meanwhile.
    var missed = 0
    var waitingToBeSent = 0

    mutating func observe(_ event: Observation) -> [Alert] {
      var found: [Alert] = []
      rules.observe(event) { found.append($0) }
      return found.isEmpty ? found : found.compactMap { memory.admit($0) }
    }

    /// False when nobody learns any more.
    mutating func learn(_ event: Observation) -> Bool {
      guard waiting != nil else { return false }
      rules.observe(event) { _ in }
      return true
    }

    /// Puts what is held to the rules.
    ///
    /// - Parameter wasCutOff: of what is usual, the newest was not read.
    mutating func endLearning(wasCutOff: Bool) -> [Alert] {
      guard let held = waiting else { return [] }
      waiting = nil
      if wasCutOff { rules.learnAnew(from: .now()) }
      return held.flatMap { observe($0) }
    }

    /// How many were missed that nobody was told of.
    mutating func takeUntold() -> Int {
      defer { missed = 0 }
      return missed
    }
  }

  private let state: Mutex<State>
  private let ending = Mutex(())
  private let settings: AlertSettings
  private let destinations: [AlertDestination]
  private let sending = DispatchQueue(label: "strongroom-alerts")
  private let onAlert: @Sendable (Alert) -> Void

  private static let mostWaiting = 100
  static let mostHeld = 10_000
  /// The log is read for so long at most.
  private static let patience = Duration.seconds(20)

  /// Gives what happened before, oldest first.
  typealias History = @Sendable ((Observation) throws -> Void) throws -> Void

  /// - Parameters:
  ///   - history: folder of the access log, from which is learned what is usual; nil begins with nothing.
  ///   - onAlert: called for each alert that is sent, before it is.
  public convenience init(
    _ settings: AlertSettings, learningFrom history: FilePath? = nil,
    onAlert: @escaping @Sendable (Alert) -> Void = { _ in }
  ) {
    self.init(
      settings, learning: history.map { Self.history(in: $0, for: settings) }, patience: Self.patience,
      onAlert: onAlert)
  }

  init(
    _ settings: AlertSettings, learning history: History?, patience: Duration,
    onAlert: @escaping @Sendable (Alert) -> Void
  ) {
    self.settings = settings
    self.onAlert = onAlert
    destinations = settings.destinations.map { AlertDestination($0) }
    state = Mutex(
      State(
        rules: AlertRules(settings), memory: AlertMemory(repeatAfter: settings.repeatAfter),
        waiting: history == nil ? nil : []))
    if let history {
      DispatchQueue.global(qos: .utility).async { self.learn(from: history, patience: patience.wholeNanoseconds) }
    }
  }

  // MARK: Observing

  /// Asks the rules.
  public func took(_ event: AccessEvent, afterNanoseconds waited: UInt64) { observe(Observation(event)) }

  /// The log is in trouble: its call failed.
  public func refused(_ event: AccessEvent) {
    raise(
      Alert(.logTrouble, at: .now(), "the access log does not take events, so calls fail until it is mended"))
  }

  /// Tells which keys are overdue for rotation.
  public func check(_ versions: [KeyVersion], rotationInterval: Duration, now: Timestamp = .now()) {
    // As the rules have it for versions that are used: a tenth late is still in time.
    let patience = rotationInterval + max(.seconds(3600), rotationInterval / 10)
    let overdue = KeyAges(versions, rotationInterval: patience, now: now).overdue.filter { $0.current?.age != nil }
    let sent = state.withLock { state in
      var sent: [Alert] = []
      for key in overdue {
        state.rules.observe(overdue: key, at: now) { if let alert = state.memory.admit($0) { sent.append(alert) } }
      }
      return sent
    }
    send(sent)
  }

  private func observe(_ event: Observation) {
    let sent = state.withLock { state -> [Alert] in
      if state.waiting != nil {
        if state.waiting.map({ $0.count < Self.mostHeld }) == true {
          state.waiting?.append(event)
        } else {
          state.missed += 1
        }
        return []
      }
      return state.observe(event)
    }
    if !sent.isEmpty { send(sent) }
  }

  private func raise(_ alert: Alert) {
    guard !settings.off.contains(alert.rule) else { return }
    send(state.withLock { state in state.memory.admit(alert).map { [$0] } ?? [] })
  }

  // MARK: Learning

  private static func history(in folder: FilePath, for settings: AlertSettings) -> History {
    let now = Timestamp.now()
    let filter = AccessFilter(since: now.advanced(by: .zero - settings.learning - .seconds(3600)), until: now)
    return { learn in
      _ = try AccessLogReader(directory: folder).forEach(matching: filter) { record, _ in
        try learn(Observation(record))
      }
    }
  }

  private func learn(from history: History, patience: UInt64) {
    let start = monotonicNanoseconds()
    do {
      try history { event in
        let isWanted = state.withLock { $0.learn(event) }
        if !isWanted || monotonicNanoseconds() - start >= patience { throw Stop() }
      }
      endLearning(wasCutOff: false)
    } catch {
      endLearning(wasCutOff: true)  // a log that cannot be read is no reason to watch nothing
    }
  }

  private func endLearning(wasCutOff: Bool) {
    // Whoever comes second waits until the first has sent what was found.
    let missed = ending.withLock { _ in
      let (found, missed) = state.withLock { ($0.endLearning(wasCutOff: wasCutOff), $0.takeUntold()) }
      send(found)
      return missed
    }
    guard missed > 0 else { return }
    sending.async {
      let text = "strongroom: no alert rule has seen \(missed) events that came while the log was read\n"
      _ = try? FileDescriptor.standardError.writeAll(text.utf8)  // there is nobody else to tell
    }
  }

  /// Whether the log is read still, and how many events there was no room for. For tests.
  var learning: (isGoingOn: Bool, missed: Int) { state.withLock { ($0.waiting != nil, $0.missed) } }

  private struct Stop: Error {}

  // MARK: Sending

  private func send(_ alerts: [Alert]) {
    for alert in alerts {
      onAlert(alert)
      let hasRoom = state.withLock { state in
        guard state.waitingToBeSent < Self.mostWaiting else { return false }
        state.waitingToBeSent += 1
        return true
      }
      guard hasRoom, !destinations.isEmpty else { continue }
      sending.async { [destinations] in
        for destination in destinations { destination.send(alert) }
        self.state.withLock { $0.waitingToBeSent -= 1 }
      }
    }
  }

  /// Ends learning, so that what happened meanwhile is looked at by what was learned until now, and waits until all is
  /// sent: each command has ten seconds at most.
  public func flush() async {
    endLearning(wasCutOff: true)
    await withCheckedContinuation { continuation in sending.async { continuation.resume() } }
  }
}

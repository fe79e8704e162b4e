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
    var waitingToBeSent = 0

    mutating func observe(_ event: Observation) -> [Alert] {
      var found: [Alert] = []
      rules.observe(event) { found.append($0) }
      return found.isEmpty ? found : found.compactMap { memory.admit($0) }
    }
  }

  private let state: Mutex<State>
  private let settings: AlertSettings
  private let destinations: [AlertDestination]
  private let sending = DispatchQueue(label: "strongroom-alerts")
  private let onAlert: @Sendable (Alert) -> Void

  private static let mostWaiting = 100
  private static let mostHeld = 10_000
  /// The log is read for so long at most.
  private static let reading: UInt64 = 20_000_000_000

  /// - Parameters:
  ///   - history: folder of the access log, from which is learned what is usual; nil begins with nothing.
  ///   - onAlert: called for each alert that is sent, before it is.
  public init(
    _ settings: AlertSettings, learningFrom history: FilePath? = nil,
    onAlert: @escaping @Sendable (Alert) -> Void = { _ in }
  ) {
    self.settings = settings
    self.onAlert = onAlert
    destinations = settings.destinations.map { AlertDestination($0) }
    state = Mutex(
      State(
        rules: AlertRules(settings), memory: AlertMemory(repeatAfter: settings.repeatAfter),
        waiting: history == nil ? nil : []))
    if let history {
      let now = Timestamp.now()
      DispatchQueue.global(qos: .utility).async { self.learn(from: history, until: now) }
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
        if state.waiting.map({ $0.count < Self.mostHeld }) == true { state.waiting?.append(event) }
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

  private func learn(from history: FilePath, until now: Timestamp) {
    var rules = AlertRules(settings)
    let start = monotonicNanoseconds()
    let filter = AccessFilter(
      since: now.advanced(by: .zero - settings.learning - .seconds(3600)), until: now)
    // A log that cannot be read is no reason to watch nothing.
    _ = try? AccessLogReader(directory: history).forEach(matching: filter) { record, _ in
      rules.observe(Observation(record)) { _ in }
      if monotonicNanoseconds() - start > Self.reading { throw Stop() }
    }
    let learned = rules
    let sent = state.withLock { state in
      state.rules = learned
      let held = state.waiting ?? []
      state.waiting = nil
      return held.flatMap { state.observe($0) }
    }
    send(sent)
  }

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

  /// Waits until all is sent: each command has ten seconds at most.
  public func flush() async {
    await withCheckedContinuation { continuation in sending.async { continuation.resume() } }
  }
}

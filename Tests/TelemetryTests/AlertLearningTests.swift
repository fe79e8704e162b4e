import Dispatch
import KMSCore
import Synchronization
import Testing

@testable import Telemetry

/// While the log is read for what is usual, and after.
@Suite(.timeLimit(.minutes(5))) struct AlertLearningTests {
  private final class Alerts: Sendable {
    private let all = Mutex<[Alert.Rule]>([])
    var rules: [Alert.Rule] { all.withLock { $0 } }
    func add(_ alert: Alert) { all.withLock { $0.append(alert.rule) } }
  }

  private var settings: AlertSettings {
    var settings = AlertSettings()
    settings.destinations = []
    return settings
  }

  private func use(by principal: String, hoursAgo: Int = 0) -> AccessEvent {
    AccessEvent(
      .decrypt, timestamp: .now().advanced(by: .seconds(-3600 * hoursAgo)), key: try! KeyName("pii"),
      access: Access(principal: principal))
  }

  /// A short job is over before its log is read.
  @Test func whatHappensMeanwhileIsToldAtTheEndOfTheProcess() async throws {
    let (gate, alerts) = (DispatchSemaphore(value: 0), Alerts())
    defer { gate.signal() }
    let monitor = AlertMonitor(
      settings, learning: { _ in gate.wait() }, patience: .seconds(3600), onAlert: alerts.add)
    monitor.took(AccessEvent(.rotate, key: try KeyName("pii"), errorCode: .providerFailed), afterNanoseconds: 0)
    #expect(alerts.rules.isEmpty)
    await monitor.flush()
    #expect(alerts.rules == [.rotationFailed] && !monitor.learning.isGoingOn)
  }

  @Test func eventsThatThereWasNoRoomForAreCounted() async throws {
    let (gate, alerts) = (DispatchSemaphore(value: 0), Alerts())
    defer { gate.signal() }
    let monitor = AlertMonitor(
      settings, learning: { _ in gate.wait() }, patience: .seconds(3600), onAlert: alerts.add)
    let event = use(by: "web")
    for _ in 0..<AlertMonitor.mostHeld + 3 { monitor.took(event, afterNanoseconds: 0) }
    #expect(monitor.learning.missed == 3)
    await monitor.flush()
    #expect(monitor.learning.missed == 0)  // told
  }

  /// Of a log that takes longer to read, the newest part is not known: what stands there is nothing new.
  @Test(arguments: [false, true]) func learningThatWasCutOffBeginsAnew(_ isCutOff: Bool) async throws {
    let alerts = Alerts()
    let past = [use(by: "web", hoursAgo: 30), use(by: "billing", hoursAgo: 1)].map { Observation($0) }
    let monitor = AlertMonitor(
      settings, learning: { learn in for event in past { try learn(event) } },
      patience: isCutOff ? .zero : .seconds(3600), onAlert: alerts.add)
    for _ in 0..<6000 where monitor.learning.isGoingOn { try await Task.sleep(for: .milliseconds(10)) }
    monitor.took(use(by: "billing"), afterNanoseconds: 0)
    #expect(alerts.rules.isEmpty)
    monitor.took(use(by: "stranger"), afterNanoseconds: 0)
    #expect(alerts.rules == (isCutOff ? [] : [.newPrincipal]))
    // What is wrong whenever it happens is told.
    for _ in 0..<20 {
      var event = use(by: "web")
      event.errorCode = .doesNotOpen
      monitor.took(event, afterNanoseconds: 0)
    }
    #expect(alerts.rules.last == .failedOperations)
  }

  @Test func afterThatItLearnsAsLongAsEver() {
    var rules = AlertRules(settings)
    var found: [Alert.Rule] = []
    func look(_ principal: String, hours: Int) {
      var event = Observation(use(by: principal))
      event.timestamp = SyntheticWeek.begin.advanced(by: .seconds(3600 * hours))
      rules.observe(event) { found.append($0.rule) }
    }
    look("web", hours: 0)
    rules.learnAnew(from: SyntheticWeek.begin.advanced(by: .seconds(3600 * 30)))
    look("billing", hours: 53)
    #expect(found.isEmpty)
    look("stranger", hours: 54)
    #expect(found == [.newPrincipal])
  }
}

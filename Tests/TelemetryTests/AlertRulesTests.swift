import Foundation
import KMSCore
import Testing

@testable import Telemetry

func logarithm(_ x: Double) -> Double { log(x) }

/// Rules over a week of traffic, with and without incidents in it.
@Suite struct AlertRulesTests {
  /// What is put into the week, and the rule that has to find it.
  enum Incident: Int, CaseIterable {
    case wrongContexts, keyGone, rotationFails, rotationForgotten, stranger, newDeed, surge, nightSurge
    case exfiltration, slowExfiltration, slowToken

    var rule: Alert.Rule {
      switch self {
      case .wrongContexts, .keyGone: .failedOperations
      case .rotationFails: .rotationFailed
      case .rotationForgotten: .rotationOverdue
      case .stranger: .newPrincipal
      case .newDeed: .newOperation
      case .surge, .nightSurge: .rate
      case .exfiltration, .slowExfiltration: .manyContexts
      case .slowToken: .latency
      }
    }

    /// Each has its own half day, from the second day on: noon, but for what comes at night.
    var second: Int64 {
      let day = SyntheticWeek.day * Int64(2 + rawValue / 2)
      return day + (self == .nightSurge ? 22 : rawValue % 2 == 0 ? 9 : 15) * 3600
    }
    var time: Timestamp { SyntheticWeek.begin.advanced(by: .seconds(second)) }

    func plant(in week: inout SyntheticWeek) {
      func spread(_ count: Int, _ minutes: Int, _ use: (Int, Int64) -> Void) {
        for i in 0..<count { use(i, second + Int64(i % minutes) * 60) }
      }
      let before = week.events.count
      switch self {
      case .wrongContexts:
        spread(30, 3) { week.use("web", "customer-pii", at: $1, decrypt: true, context: 1, error: .doesNotOpen) }
      case .keyGone: spread(12, 4) { week.use("archive", "documents", at: $1, decrypt: true, error: .keyNotFound) }
      case .rotationFails: week.rotate("invoices", at: second, error: .providerUnavailable)
      case .rotationForgotten:
        week.use("web", "customer-pii", at: second, decrypt: false, age: .seconds(30 * 3600))
      case .stranger: week.use("cron-job", "customer-pii", at: second, decrypt: true, context: 5)
      case .newDeed: week.use("archive", "documents", at: second, decrypt: false)
      case .surge, .nightSurge:
        spread(2500, 4) { week.use("web", "customer-pii", at: $1, decrypt: $0 % 2 == 0, context: 7) }
      case .exfiltration:
        spread(1500, 4) {
          week.use("web", "customer-pii", at: $1, decrypt: true, context: 100_000 + UInt64($0))
        }
      case .slowExfiltration:
        spread(800, 20) { week.use("archive", "documents", at: $1, decrypt: true, context: 100_000 + UInt64($0)) }
      case .slowToken:
        spread(1200, 30) { week.use("web", "customer-pii", at: $1, decrypt: true, context: 9, slower: 80) }
      }
      #expect(week.events.count > before)
    }
  }

  @Test func everyPlantedIncidentIsFoundAndNothingElse() {
    var week = SyntheticWeek(seed: 1)
    for incident in Incident.allCases { incident.plant(in: &week) }
    week.sort()
    var alerts = week.alerts()
    for incident in Incident.allCases {
      // While it goes on, or soon after.
      let found = alerts.filter {
        $0.rule == incident.rule && incident.time..<incident.time.advanced(by: .seconds(4 * 3600)) ~= $0.timestamp
      }
      #expect(!found.isEmpty, "\(incident)")
      alerts.removeAll { found.contains($0) }
    }
    // What else is said follows from the planted ones: 1,500 contexts are also many operations, and the like.
    let near = Incident.allCases.map { $0.time..<$0.time.advanced(by: .seconds(3600)) }
    let unexplained = alerts.filter { alert in !near.contains { $0 ~= alert.timestamp } }
    #expect(unexplained.isEmpty, "\(unexplained.map(\.line))")

    var settings = SyntheticWeek.settings
    settings.off = Set(Incident.allCases.map(\.rule)).subtracting([.newPrincipal])
    #expect(Set(week.alerts(settings).map(\.rule)) == [.newPrincipal])
    settings.off = [.newPrincipal]
    #expect(Set(week.alerts(settings).map(\.rule)) == Set(Incident.allCases.map(\.rule)).subtracting([.newPrincipal]))
  }

  /// The number that docs/monitoring states, of more weeks with `ALERT_WEEKS`.
  @Test func quietWeeksGiveNoAlerts() {
    let weeks = ProcessInfo.processInfo.environment["ALERT_WEEKS"].flatMap { UInt64($0) } ?? 2
    let alerts = (1...weeks).flatMap { SyntheticWeek(seed: $0).alerts() }
    if weeks > 2 { print("false alerts in \(weeks) quiet weeks: \(alerts.count)", alerts.map(\.line)) }
    #expect(alerts.isEmpty, "\(alerts.map(\.line))")
  }

  @Test func aFailedCheckpointIsFound() throws {
    var rules = AlertRules(AlertSettings())
    var found: [Alert.Rule] = []
    rules.observe(Observation(AccessEvent(.sign))) { found.append($0.rule) }
    rules.observe(Observation(AccessEvent(.sign, errorCode: .providerFailed))) { found.append($0.rule) }
    #expect(found == [.checkpointFailed])
    var settings = AlertSettings()
    settings.off = [.checkpointFailed]
    rules = AlertRules(settings)
    rules.observe(Observation(AccessEvent(.sign, errorCode: .providerFailed))) { found.append($0.rule) }
    #expect(found == [.checkpointFailed])
  }

  @Test func theSameAlertIsSentOnceAnHour() {
    var memory = AlertMemory(repeatAfter: .seconds(3600))
    let start = SyntheticWeek.begin
    var sent: [Alert] = []
    for minute in 0..<150 {
      for key in ["a", "b"] {
        let alert = Alert(
          .failedOperations, at: start.advanced(by: .seconds(60 * minute)), key: key, "\(minute) failed")
        if let alert = memory.admit(alert) { sent.append(alert) }
      }
    }
    #expect(sent.filter { $0.key == "a" }.map(\.repeats) == [0, 59, 59] && sent.count == 6)
  }

  @Test func stateIsBounded() {
    var rules = AlertRules(AlertSettings())
    for i in 0..<20_000 {
      var access = Access(principal: "p\(i)")
      access.contextTag = UInt64(i)
      rules.observe(
        Observation(
          AccessEvent(
            .init(rawValue: "own-\(i)"), key: try! KeyName("k\(i)"), provider: "hsm\(i)", access: access))
      ) { _ in }
    }
    #expect(rules.sizes == [1000, 1000, 256])
  }

  @Test(arguments: [1, 5, 50, 500, 5000, 500_000])
  func distinctValuesAreEstimated(_ count: Int) {
    var counter = DistinctCounter()
    for i in 0..<count { for _ in 0..<2 { _ = counter.add(SplitMix.mix(UInt64(i))) } }
    #expect(abs(counter.estimate / Double(count) - 1) < 0.25, "\(counter.estimate)")
  }

  @Test func aCappedMapForgetsWhatWasNotUsed() {
    var map = CappedMap<Int, Int>(limit: 10)
    for i in 0..<1000 {
      _ = map.slot(i) { i }
      _ = map.slot(0) { -1 }
    }
    #expect(map.count == 10)
    #expect(map[map.slot(0) { -1 }] == 0)  // in use all the time: it stayed
  }
}

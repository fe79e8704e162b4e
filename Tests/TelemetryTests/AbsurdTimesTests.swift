import Foundation
import KMSCore
import Testing

@testable import AccessLog
@testable import Telemetry

/// Whoever writes the log, or sets the clock, says what time it is.
@Suite struct AbsurdTimesTests {
  private let pii = try! KeyName("pii")
  private static let longAgo = Timestamp(rfc3339: "1970-01-01T00:00:00Z")!.advanced(by: .seconds(-600_000_017))

  private func use(
    by principal: String = "web", at time: Timestamp, error: KMSError.Code? = nil, count: Int? = nil
  ) -> AccessEvent {
    AccessEvent(
      .decrypt, timestamp: time, key: pii, access: Access(principal: principal), errorCode: error, count: count)
  }

  private func record(_ event: AccessEvent) throws -> AccessRecord {
    var now = event
    now.timestamp = .now()
    var bytes: [UInt8] = []
    EventLine(now).write(sequence: 1, to: &bytes)
    var record = try #require(AccessRecord(line: bytes.dropLast()))
    record.timestamp = event.timestamp
    return record
  }

  @Test(arguments: [longAgo, Timestamp(nanoseconds: .min), Timestamp(nanoseconds: -1), Timestamp(nanoseconds: .max)])
  func rulesLookAtAnyTime(_ time: Timestamp) {
    var rules = AlertRules(AlertSettings())
    var found: [Alert.Rule] = []
    for second in 0..<40 {
      let event = use(at: time.advanced(by: .seconds(second)), error: .doesNotOpen)
      rules.observe(Observation(event)) { found.append($0.rule) }
    }
    #expect(found.contains(.failedOperations))
  }

  @Test func aReportOfBefore1970HasItsHours() throws {
    // 1950-12-27T13:19:43Z
    let report = TelemetryReport(
      records: [try record(use(at: Self.longAgo))], versions: [], rotationInterval: .seconds(86_400),
      since: Self.longAgo.advanced(by: .seconds(-100)), now: Self.longAgo.advanced(by: .seconds(7200)))
    #expect(report.byHour[13].total == 1 && report.timeline.steps.map(\.count.total).reduce(0, +) == 1)
    #expect(report.text.contains("13:00") && !report.html.isEmpty)
    _ = try JSONSerialization.jsonObject(with: Data(report.json().utf8))
  }

  @Test func aPeriodThatEndsBeforeItBeginsIsEmpty() throws {
    let now = Timestamp.now()
    let report = TelemetryReport(
      records: [try record(use(at: now))], versions: [], rotationInterval: .seconds(86_400), since: now,
      now: now.advanced(by: .seconds(-86_400 * 30)))
    #expect(report.outcomes.total == 0 && !report.text.isEmpty)
  }

  @Test(arguments: [1e300, -1e300]) func durationsBeyondAllNumbersAreClamped(_ duration: Double) throws {
    let now = Timestamp.now()
    var slow = try record(use(at: now))
    (slow.durationMicroseconds, slow.provider) = (duration, "hsm")
    let report = TelemetryReport(
      records: [slow], versions: [], rotationInterval: .seconds(86_400), since: now,
      now: now.advanced(by: .seconds(1)))
    #expect(report.json().contains("\"duration_us\": \(duration < 0 ? "-" : "")1000000000000000.000"))
    #expect(!report.text.isEmpty && !report.html.isEmpty)
  }

  // MARK: A clock that was set back

  private let year = Timestamp.now().advanced(by: .seconds(365 * 86_400))

  @Test func anAlertOfTheFutureMutesNoneOfNow() {
    var memory = AlertMemory(repeatAfter: .seconds(3600))
    func admits(_ seconds: Int, from time: Timestamp) -> Bool {
      memory.admit(Alert(.rate, at: time.advanced(by: .seconds(seconds)), "x")) != nil
    }
    #expect(admits(0, from: year) && !admits(-5, from: year))  // of another thread, a little late
    #expect(admits(0, from: .now()) && !admits(10, from: .now()))
  }

  @Test func failuresAfterItAreCounted() {
    var window = FailureWindow()
    let (later, now) = (year.seconds, Timestamp.now().seconds)
    for second in 0..<10 { _ = window.add(second: later + Int64(second), count: 1, failed: true) }
    var most = 0
    for second in 0..<60 {
      most = max(most, window.add(second: now + Int64(second), count: 1, failed: true)?.failed ?? 0)
    }
    #expect(most >= 30)
  }

  @Test func oneThatIsLateTakesNothingAway() {
    var window = FailureWindow()
    let now = Timestamp.now().seconds
    var most = 0
    for second in 0..<20 {
      most = max(most, window.add(second: now + Int64(second), count: 1, failed: true)?.failed ?? 0)
      #expect(window.add(second: now - 86_400, count: 1, failed: true) == nil)
    }
    #expect(most == 20)
  }

  @Test func aSlowProviderIsFoundAllTheSame() {
    var watch = LatencyWatch()
    _ = watch.add(2_000_000, second: year.seconds, factor: 5)
    var found = 0
    for window in 0..<20 {
      for call in 0..<60 {
        let second = Timestamp.now().seconds + Int64(window * 300 + call)
        let isSlow = watch.add(window < 15 ? 2_000_000 : 200_000_000, second: second, factor: 5) != nil
        if isSlow { found += 1 }
      }
    }
    #expect(found > 0)
  }

  /// For as long as the clock is behind, five minutes are five minutes.
  @Test func theRateStaysWhatItIs() {
    var rules = AlertRules(AlertSettings())
    var found: [Alert.Rule] = []
    func look(_ time: Timestamp) { rules.observe(Observation(use(at: time, count: 20))) { found.append($0.rule) } }
    // Days of a hundred in five minutes, then a day earlier the same again.
    let begin = SyntheticWeek.begin
    for minute in 0..<4000 { look(begin.advanced(by: .seconds(60 * minute))) }
    for minute in 2500..<3900 { look(begin.advanced(by: .seconds(60 * minute))) }
    #expect(found.isEmpty)
  }
}

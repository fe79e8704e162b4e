import Foundation
import KMSCore
import Testing

@testable import AccessLog
@testable import Telemetry

/// What rules know of contexts when the log is all they have: after a restart, and in the report.
@Suite struct ContextNumberTests {
  private let begin = SyntheticWeek.begin
  private let pii = try! KeyName("pii")

  /// A batch or summary of decrypts, one for each of so many contexts.
  private func batch(_ contexts: Int, from first: Int = 0, at second: Int) -> AccessEvent {
    var event = AccessEvent(
      .decrypt, timestamp: begin.advanced(by: .seconds(second)), key: pii, access: Access(principal: "web"),
      count: contexts)
    for i in 0..<contexts { event.contexts.add(SplitMix.mix(UInt64(first + i + 1))) }
    return event
  }

  private func line(_ event: AccessEvent) -> String {
    var bytes: [UInt8] = []
    EventLine(event).write(sequence: 1, to: &bytes)
    return String(decoding: bytes.dropLast(), as: UTF8.self)
  }

  private func record(_ line: String) throws -> AccessRecord {
    try #require(AccessRecord(line: Array(line.utf8)[...]))
  }

  /// What rules say of `event` after records of thirty hours, whose lines may be changed.
  private func alerts(
    _ event: AccessEvent, after past: [AccessEvent], _ change: (String) -> String = { $0 }
  ) throws -> [Alert.Rule] {
    var rules = AlertRules(AlertSettings())
    for event in past { rules.observe(Observation(try record(change(line(event))))) { _ in } }
    var found: [Alert.Rule] = []
    rules.observe(Observation(event)) { found.append($0.rule) }
    return found
  }

  @Test(arguments: [1, 2, 40, 2000]) func aRecordTellsHowManyContextsThereWere(_ count: Int) throws {
    let read = try record(line(batch(count, at: 0)))
    let contexts = try #require(read.contexts)
    #expect(read.count == count && abs(Double(contexts) / Double(count) - 1) < 0.25, "\(contexts)")
    let single = try record(line(AccessEvent(.decrypt, key: pii)))
    #expect(single.contexts == nil)
  }

  @Test func theFirstUsualBatchAfterARestartIsUsual() throws {
    let past = (0..<31).map { batch(2000, at: 3600 * $0) }
    #expect(try alerts(batch(2000, at: 3600 * 31), after: past).isEmpty)
    #expect(try alerts(batch(30_000, at: 3600 * 31), after: past).contains(.manyContexts))
  }

  /// Each second's summary has some contexts, five minutes have many.
  @Test func summariesOfAWindowAreTakenTogether() throws {
    let past = (0..<31).flatMap { hour in
      (0..<300).map { batch(20, from: 20 * $0, at: 3600 * hour + $0) }
    }
    #expect(try alerts(batch(4000, at: 3600 * 31), after: past).isEmpty)
  }

  /// It told how many operations there were, and nothing of their contexts.
  @Test func anOlderLogTeachesNothingOfContexts() throws {
    let past = (0..<31).map { batch(2000, at: 3600 * $0) }
    let older = { (line: String) in line.replacing(/,"contexts":[0-9]+/, with: "") }
    #expect(try alerts(batch(2000, at: 3600 * 31), after: past, older).isEmpty)
    let single = (0..<31).map { hour in
      AccessEvent(
        .decrypt, timestamp: begin.advanced(by: .seconds(3600 * hour)), key: pii, access: Access(principal: "web"))
    }
    #expect(try alerts(batch(2000, at: 3600 * 31), after: single, older).contains(.manyContexts))
  }

  @Test func theReportSeesAMassDecryptByBatch() throws {
    let since = begin.advanced(by: .seconds(3600 * 30))
    var report = TelemetryReport(
      versions: [], rotationInterval: .seconds(86_400), since: since, now: since.advanced(by: .seconds(7200)))
    for hour in 5..<31 { report.add(try record(line(batch(30, at: 3600 * hour)))) }
    #expect(report.incidents.isEmpty)
    report.add(try record(line(batch(3000, at: 3600 * 31))))
    #expect(report.incidents.map(\.alert.rule).contains(.manyContexts))
  }

  /// Whoever can write to the log's folder writes what numbers he likes.
  @Test(arguments: ["-1", "1e300", "9e18", "0.5", "\"x\"", "null"])
  func numbersThatAreNoneDoNoHarm(_ number: String) throws {
    var rules = AlertRules(AlertSettings())
    for second in 0..<1000 {
      let text = line(batch(1, at: second)).replacing(/"contexts":1/, with: "\"contexts\":\(number)")
      rules.observe(Observation(try record(text.replacing(/"count":1/, with: "\"count\":9e18")))) { _ in }
    }
  }
}

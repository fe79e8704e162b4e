import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog
@testable import Telemetry

@Suite struct LatencyHistogramTests {
  @Test func percentilesAreWithinABucket() {
    var histogram = LatencyHistogram()
    for value in 1...100_000 { histogram.add(nanoseconds: UInt64(value)) }
    for (part, exact) in [(0.5, 50_000.0), (0.95, 95_000), (0.99, 99_000), (1, 100_000)] {
      let value = Double(histogram.percentile(part))
      #expect(value >= exact && value <= exact * 1.01)
    }
    #expect(histogram.maximum == 100_000 && histogram.count == 100_000)
  }

  @Test(arguments: [0, 1, 31, 32, 33, 63, 64, 1_000_003, UInt64(Int64.max), UInt64.max])
  func aSingleValueIsItsOwnPercentile(_ value: UInt64) {
    var histogram = LatencyHistogram()
    histogram.add(nanoseconds: value)
    #expect(histogram.percentile(0.5) == value && histogram.percentile(0) == value)
  }

  @Test func anEmptyOneGivesZero() { #expect(LatencyHistogram().percentile(0.99) == 0) }
}

@Suite struct TelemetryReportTests {
  private let start = Timestamp(rfc3339: "2026-11-24T08:00:00Z")!
  private let pii = try! KeyName("customer-pii")

  private func record(_ event: AccessEvent) throws -> AccessRecord {
    var bytes: [UInt8] = []
    EventLine(event).write(sequence: 1, to: &bytes)
    return try #require(AccessRecord(line: bytes.dropLast()))
  }

  private func version(_ key: String, age: Duration, _ state: KeyState = .active, adopted: Bool = false) throws
    -> KeyVersion
  {
    let id = adopted ? try KeyVersionID([1, 2]) : KeyVersionID.make(now: end.advanced(by: .zero - age))
    return KeyVersion(
      id: id, key: try KeyName(key), purpose: .wrap, state: state, enforcement: .token, provider: "hsm")
  }

  /// Whoever can write to the log's folder writes what numbers he likes.
  @Test func countsBeyondAllTimeAreSummed() throws {
    var report = self.report()
    var absurd = try record(AccessEvent(.encrypt, timestamp: start.advanced(by: .seconds(60)), provider: "hsm"))
    for count in [Int.max, Int.max, Int.min, 9_000_000_000_000_000_000] {
      absurd.count = count
      report.add(absurd)
    }
    #expect(report.outcomes.total == 3_000_000_001)
    #expect(!report.text.isEmpty)
  }

  private var end: Timestamp { start.advanced(by: .seconds(7200)) }

  private func report(_ versions: [KeyVersion] = []) -> TelemetryReport {
    TelemetryReport(versions: versions, rotationInterval: .seconds(86_400), since: start, now: end)
  }

  private func event(
    _ operation: AccessEvent.Operation, at second: Int, by principal: String? = "billing", error: KMSError.Code? = nil,
    message: String? = nil, reason: String? = nil
  ) -> AccessEvent {
    AccessEvent(
      operation, timestamp: start.advanced(by: .seconds(second)), key: pii, provider: "hsm",
      access: Access(principal: principal), errorCode: error, errorMessage: message, reason: reason,
      duration: .microseconds(15))
  }

  private func filled() throws -> TelemetryReport {
    var report = report([
      try version("customer-pii", age: .seconds(3 * 86_400)),
      try version("customer-pii", age: .seconds(9 * 86_400), .deactivated),
      try version("fresh", age: .seconds(3600)), try version("old", age: .seconds(60), adopted: true),
      try version("gone", age: .seconds(60), .suspended),
      try version("cut-off", age: .seconds(60)), try version("cut-off", age: .seconds(3600)),
    ])
    for second in 0..<30 { report.add(try record(event(.unwrap, at: second))) }
    report.add(try record(event(.rotate, at: 40, reason: "scheduled")))
    report.add(
      try record(event(.rotate, at: 3700, error: .providerUnavailable, message: "the token is gone", reason: "manual")))
    report.add(try record(event(.decrypt, at: 50, by: nil, error: .doesNotOpen, message: "the context differs")))
    report.add(try record(AccessEvent(.rotate, phase: .intent, timestamp: start)))
    report.add(try record(event(.wrap, at: -1)))  // before the period
    report.add(try record(event(.wrap, at: 7201)))  // after it
    report.damaged.add("log/access-x.jsonl", 7, .torn)
    return report
  }

  @Test func countsWhatHappenedInThePeriod() throws {
    let report = try filled()
    #expect(report.outcomes == Tally.Count(total: 33, failed: 2) && report.intents == 1)
    #expect(report.rotations == Tally.Count(total: 2, failed: 1))
    #expect(report.byPrincipal.counts["billing"] == Tally.Count(total: 32, failed: 1))
    #expect(report.byPrincipal.counts["unidentified"] == Tally.Count(total: 1, failed: 1))
    #expect(report.byOperation.sorted.map(\.name) == ["unwrap", "rotate", "decrypt"])
    #expect(report.byOutcome.counts["success"]?.total == 31 && report.byOutcome.counts["does-not-open"]?.failed == 1)
    #expect(report.byHour[8].total == 32 && report.byHour[9].total == 1)
    #expect(report.recent.elements.count == 20 && report.recent.elements.last?.operation == .decrypt)
    #expect(report.recentFailures.elements.map(\.errorCode) == ["provider-unavailable", "does-not-open"])
    #expect(report.keys.overdue.map(\.key.description) == ["customer-pii", "gone", "old"])
    #expect(report.latencies[.init(provider: "hsm", operation: "unwrap")]?.count == 30)
  }

  @Test func textFitsATerminalAndSaysWhatMatters() throws {
    let text = try filled().text
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 80 })
    for part in [
      "key customer-pii is 3 d old, due after 1 d: rotate it", "key gone has no active version",
      "key old was made elsewhere", "key cut-off has older versions active",
      "key customer-pii could not be rotated: provider-unavailable, 1 times",
      "damaged lines in the log: 1", "access-x.jsonl:7: torn", "failed rotations: 1", "33, 2 failed", "scheduled",
      "manual", "FAILED", "does-not-open: the", "15.0 µs",
    ] { #expect(text.contains(part), "\(part)") }
  }

  @Test func textOfOthersDoesNothingToATerminal() throws {
    var report = report()
    report.add(try record(event(.wrap, at: 1, by: "eve\u{1B}[2J\u{9B}31m\u{202E}\nfake line")))
    #expect(
      !report.text.unicodeScalars.contains { $0 != "\n" && ($0.value < 32 || $0.value == 0x9B || $0.value == 0x202E) })
    #expect(!report.text.contains("\nfake"))
  }

  @Test func jsonHasTheDocumentedFields() throws {
    let json = try #require(
      JSONSerialization.jsonObject(with: Data(try filled().json().utf8)) as? [String: Any])
    #expect(
      Set(json.keys) == [
        "since", "until", "operations", "failures", "intents", "rotations", "overdue_rotations", "access",
        "interrupted_rotations", "failed_rotations", "recent_failures", "recent_events", "key_versions", "latency",
        "unreachable_providers", "damaged", "performance", "timeline", "security_incidents",
      ])
    let access = try #require(json["access"] as? [String: [[String: Any]]])
    #expect(Set(access.keys) == ["by_key", "by_principal", "by_operation", "by_outcome", "by_hour"])
    #expect(access["by_hour"]?.count == 24 && access["by_key"]?.first?["count"] as? Int == 33)
    let latency = try #require(json["latency"] as? [[String: Any]])
    #expect(latency.last?["operation"] as? String == "unwrap" && latency.last?["p50_us"] as? Double == 15)
    let rotations = try #require(json["rotations"] as? [String: Any])
    #expect(rotations["count"] as? Int == 2 && rotations["failed"] as? Int == 1)
    let overdue = try #require(json["overdue_rotations"] as? [[String: Any]])
    #expect(overdue.first?["age_seconds"] as? Int == 3 * 86_400 && overdue.count == 3)
    #expect(json["interrupted_rotations"] as? [String] == ["cut-off"])
    let failed = try #require(json["failed_rotations"] as? [[String: Any]])
    #expect(failed.map { $0["key_id"] as? String } == ["customer-pii"] && failed.first?["count"] as? Int == 1)
    #expect((failed.first?["last"] as? [String: Any])?["error_code"] as? String == "provider-unavailable")
  }

  @Test func recoveryKeysDoNotRotate() {
    let versions = (1...2).map { age in
      KeyVersion(
        id: .make(now: end.advanced(by: .seconds(-90_000 * age))), key: pii, purpose: .recovery, state: .active,
        enforcement: .token, provider: "hsm")
    }
    let report = report(versions)
    #expect(report.keys.interrupted.isEmpty && report.keys.overdue.isEmpty)
  }

  @Test func aGoodRotationTakesTheFlagAway() throws {
    var report = try filled()
    report.add(try record(event(.rotate, at: 3800, error: .providerFailed, message: "again", reason: "scheduled")))
    #expect(report.failedRotations["customer-pii"]?.count == 2)
    report.add(try record(event(.rotate, at: 3900, reason: "scheduled")))
    #expect(report.failedRotations.isEmpty && !report.text.contains("could not be rotated"))
    #expect(report.rotations.failed == 2)
  }

  @Test func anEmptyLogGivesAReport() throws {
    #expect(report().text.contains("0, 0 failed"))
    #expect(try JSONSerialization.jsonObject(with: Data(report().json().utf8)) is [String: Any])
    let same = TelemetryReport(
      records: [try record(event(.wrap, at: 1))], versions: [], rotationInterval: .seconds(3600), since: start, now: end
    )
    #expect(same.outcomes.total == 1)
  }

  @Test func manyNamesDoNotGrowIt() {
    var tally = Tally()
    for i in 0..<3000 { tally.add("\(i)", success: true) }
    #expect(tally.counts.count == Tally.limit + 1 && tally.counts[Tally.others]?.total == 2000)
    var last = Last<Int>(3)
    for i in 0..<10 { last.add(i) }
    #expect(last.elements == [7, 8, 9])
  }
}

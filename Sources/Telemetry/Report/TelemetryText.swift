import AccessLog
import KMSCore
import SystemPackage

extension TelemetryReport {
  /// The report for a person at a terminal: aligned, 80 columns, no control characters. What needs attention is first.
  public var text: String {
    let sections: [(title: String, lines: [String])] = [
      ("Key management report", summaryLines), ("Needs attention", attentionLines),
      ("Security incidents", incidentLines), ("Rotations", rotationLines),
      ("Keys", keyLines), ("By key", lines(byKey)), ("By principal", lines(byPrincipal)),
      ("By operation", lines(byOperation)), ("By outcome", lines(byOutcome)), ("By hour of the day (UTC)", hourLines),
      ("Latency", latencyLines), ("Recent failures", recentFailures.elements.flatMap(Self.detailed)),
      ("Recent events", recent.elements.map(Self.line)),
    ]
    return sections.filter { !$0.lines.isEmpty }
      .map { ([$0.title] + $0.lines).joined(separator: "\n") }
      .joined(separator: "\n\n") + "\n"
  }

  private var summaryLines: [String] {
    [
      TextTable.row(.left("period", 12), .rest("\(TextTable.time(since)) to \(TextTable.time(now))")),
      TextTable.row(.left("operations", 12), .rest("\(outcomes.total), \(outcomes.failed) failed")),
      TextTable.row(.left("rotations", 12), .rest("\(rotations.total), \(rotations.failed) failed")),
      TextTable.row(
        .left("rate", 12), .rest(Self.perSecond(rate) + ", at most " + Self.perSecond(timeline.highestRate))),
      TextTable.row(
        .left("cache", 12), .rest(cacheHitRate.map { "\(Self.percent($0)) of \(cache.lookups) hit" } ?? "not used")),
    ]
  }

  static func perSecond(_ rate: Double) -> String {
    fixed(Int64((min(rate, 1e12) * 1000).rounded()), decimals: 3) + " a second"
  }

  static func percent(_ part: Double) -> String { fixed(Int64((part * 1000).rounded()), decimals: 1) + " %" }

  private var incidentLines: [String] {
    let shown = incidents.suffix(Self.recentLimit).flatMap { incident in
      let again = incident.count > 1 ? ", \(incident.count) times to \(TextTable.time(incident.last))" : ""
      return [
        TextTable.row(
          .left(TextTable.time(incident.alert.timestamp), 20), .rest("\(incident.alert.rule)\(again)"))
      ] + TextTable.wrapped(incident.alert.message, indent: 24)
    }
    let more = found.total - found.all.count + max(0, incidents.count - Self.recentLimit)
    return (more > 0 ? [TextTable.row(.rest("\(more) earlier or more ones are not listed"))] : []) + shown
  }

  private var attentionLines: [String] { attentionNotes.map { TextTable.row(.rest($0)) } }

  private var rotationLines: [String] { recentRotations.elements.flatMap(Self.detailed) }

  private static func line(_ record: AccessRecord) -> String {
    TextTable.row(
      .left(TextTable.time(record.timestamp), 20), .left(record.success == true ? "ok" : "FAILED", 6),
      .left(record.operation.rawValue, 14), .left(record.keyID ?? "-", 14), .rest(record.accessedBy))
  }

  // Reason and error stand below: they are sentences.
  private static func detailed(_ record: AccessRecord) -> [String] {
    let error = record.success == true ? nil : "\(record.errorCode ?? ""): \(record.errorMessage ?? "")"
    return [line(record)]
      + [record.reason, error].compactMap(\.self).map { TextTable.row(.left("", 20), .rest($0)) }
  }

  private var keyLines: [String] {
    guard !keys.rows.isEmpty else { return [] }
    let head = TextTable.row(
      .left("key", 16), .left("version", 36), .left("state", 11), .rest("age"))
    return [head]
      + keys.rows.map { row in
        TextTable.row(
          .left(row.version.key.description, 16), .left(row.version.id.description, 36),
          .left(row.version.state.rawValue, 11), .rest(row.age.map(TextTable.age) ?? "?"))
      }
  }

  private func lines(_ tally: Tally) -> [String] {
    guard !tally.counts.isEmpty else { return [] }
    let rows = tally.sorted
    let shown = rows.prefix(Self.recentLimit).map { name, count in
      TextTable.row(.left(name, 40), .right("\(count.total)", 12), .right(Self.failures(count), 18))
    }
    let more = rows.count - shown.count
    return shown + (more > 0 ? [TextTable.row(.rest("and \(more) more"))] : [])
  }

  private static func failures(_ count: Tally.Count) -> String { count.failed == 0 ? "" : "\(count.failed) failed" }

  private var hourLines: [String] {
    guard let most = byHour.map(\.total).max(), most > 0 else { return [] }
    return byHour.enumerated().filter { $1.total > 0 }.map { hour, count in
      let bar = String(repeating: "#", count: max(1, count.total * 30 / most))
      return TextTable.row(
        .left((hour < 10 ? "0" : "") + "\(hour):00", 7), .left(bar, 31), .right("\(count.total)", 12),
        .right(Self.failures(count), 18))
    }
  }

  private var latencyLines: [String] {
    guard !latencies.isEmpty else { return [] }
    let head = TextTable.row(
      .left("provider", 10), .left("operation", 14), .right("calls", 8), .right("p50", 8), .right("p95", 8),
      .right("p99", 8), .right("max", 8))
    return [head]
      + latencyRows.map { name, latency in
        func cell(_ part: Double) -> TextTable.Cell { .right(TextTable.latency(latency.percentile(part)), 8) }
        return TextTable.row(
          .left(name.provider, 10), .left(name.operation, 14), .right("\(latency.count)", 8), cell(0.5), cell(0.95),
          cell(0.99), cell(1))
      }
  }
}

internal import AccessLog
internal import DurableFiles
import KMSCore
public import SystemPackage

extension TelemetryReport {
  /// The report as one page: no script, nothing loaded, light or dark as the reader has it, for phone and desk.
  public var html: String {
    let page: HTML = """
      <!doctype html>
      <html lang="en"><head><meta charset="utf-8"><title>Key management report</title>
      <meta name="viewport" content="width=device-width,initial-scale=1">
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
      <style>\(Style.sheet)</style></head><body><main>
      <h1>Key management report</h1>
      <p class="dim">\(TextTable.time(since)) to \(TextTable.time(now))</p>
      \(tiles)\(attention)\(incidentSection)\(timelineSection)
      <div class="pair">\(keySection)\(rotationSection)</div>
      <div class="pair">\(tallySection("By key", byKey))\(tallySection("By principal", byPrincipal))</div>
      <div class="pair">\(tallySection("By operation", byOperation))\(tallySection("By outcome", byOutcome))</div>
      <div class="pair">\(hourSection)\(latencySection)</div>
      <div class="pair">\(events("Recent failures", recentFailures))\(events("Recent events", recent))</div>
      <p class="dim"><small>Times are in UTC. Made by strongroom report.</small></p>
      </main></body></html>

      """
    return page.source
  }

  /// Writes ``html`` into a file, whole or not at all.
  ///
  /// - Throws: ``KMSError/Code/outputExists``, ``KMSError/Code/fileFailed``.
  public func writeHTML(to path: FilePath, replacing: Bool = false) throws {
    let file = try AtomicFile(path, replacing: replacing)
    try file.write(Array(html.utf8))
    try file.commit()
  }

  private static func section(_ title: String, _ content: [HTML]) -> HTML {
    content.isEmpty ? "" : "<section><h2>\(title)</h2>\(content)</section>\n"
  }

  private var tiles: HTML {
    func tile(_ name: String, _ value: String, _ more: String, isBad: Bool = false) -> HTML {
      "<div class=\"tile\"><small>\(name)</small><b class=\"\(isBad ? "isbad" : "")\">\(value)</b><small>\(more)</small></div>"
    }
    return """
      <div class="tiles">\
      \(tile("Operations", Self.grouped(outcomes.total), Self.perSecond(rate)))\
      \(tile("Failed", Self.grouped(outcomes.failed), outcomes.total == 0 ? "none asked" : Self.percent(Double(outcomes.failed) / Double(outcomes.total)), isBad: outcomes.failed > 0))\
      \(tile("Incidents", Self.grouped(incidents.count), "by the alert rules", isBad: !incidents.isEmpty))\
      \(tile("Rotations", Self.grouped(rotations.total), "\(rotations.failed) failed", isBad: rotations.failed > 0))\
      \(tile("Overdue keys", Self.grouped(keys.overdue.count), "after \(TextTable.age(rotationInterval))", isBad: !keys.overdue.isEmpty))\
      \(tile("Cache hits", cacheHitRate.map(Self.percent) ?? "–", "of \(Self.grouped(cache.lookups))"))\
      </div>
      """
  }

  private var attention: HTML {
    let items: [HTML] = attentionNotes.map { "<div class=\"item\">\($0)</div>" }
    return Self.section(
      "Needs attention",
      items.isEmpty ? ["<p class=\"isgood\">Nothing: no failures, no incidents, nothing overdue.</p>"] : items)
  }

  private var incidentSection: HTML {
    Self.section(
      "Security incidents",
      incidents.reversed().prefix(50).map { incident in
        let alert = incident.alert
        let again = incident.count > 1 ? ", \(incident.count) times to \(TextTable.time(incident.last))" : ""
        return """
          <div class="item"><span class="tag isbad">\(alert.rule.rawValue)</span> \
          <small class="dim">\(TextTable.time(alert.timestamp))\(again)</small><br>\(alert.message)</div>
          """
      })
  }

  private var timelineSection: HTML {
    let steps = timeline.steps
    guard outcomes.total > 0, let first = steps.first, let last = steps.last else { return "" }
    let titles = steps.map { "\(TextTable.time($0.begin)): \($0.count.total), \($0.count.failed) failed" }
    return Self.section(
      "Operations over time",
      [
        Charts.columns(steps.map(\.count), titles: titles, label: "Operations over time, failed ones on top"),
        """
        <div class="scale"><span>\(Self.short(first.begin))</span>\
        <span>at most \(Self.perSecond(timeline.highestRate)), in steps of \(TextTable.age(.seconds(timeline.step)))</span>\
        <span>\(Self.short(last.begin))</span></div>
        """,
      ])
  }

  private var hourSection: HTML {
    guard outcomes.total > 0 else { return "" }
    let titles = byHour.enumerated().map { "\($0):00: \($1.total), \($1.failed) failed" }
    return Self.section(
      "By hour of the day (UTC)",
      [
        Charts.columns(byHour, titles: titles, label: "Operations by hour of the day"),
        "<div class=\"scale\"><span>0</span><span>6</span><span>12</span><span>18</span><span>24</span></div>",
      ])
  }

  private func tallySection(_ title: String, _ tally: Tally) -> HTML {
    let rows = tally.sorted
    let most = rows.first?.count.total ?? 0
    var shown: [HTML] = rows.prefix(12).map { name, count in
      let failed: HTML =
        count.failed == 0 ? "" : "<br><small class=\"isbad\">\(Self.grouped(count.failed)) failed</small>"
      return """
        <div class="row"><span>\(name)</span>\(Charts.bar(count, of: most))\
        <span class="number">\(Self.grouped(count.total))\(failed)</span></div>
        """
    }
    if rows.count > 12 { shown.append("<p class=\"dim\">and \(rows.count - 12) more</p>") }
    return Self.section(title, shown)
  }

  private var keySection: HTML {
    let overdue = Set(keys.overdue.map(\.key))
    return Self.section(
      "Keys: ages and states",
      keys.rows.prefix(60).map { row in
        let version = row.version
        let isCurrent = version.state == .active
        let isLate = isCurrent && overdue.contains(version.key)
        let style = isLate || version.state == .compromised ? "isbad" : isCurrent ? "isgood" : "dim"
        let seconds = row.age.map { Double($0.components.seconds) }
        let chart: HTML =
          isCurrent && version.purpose != .recovery
          ? seconds.map { Charts.age($0, interval: Double(rotationInterval.components.seconds)) } ?? "<span></span>"
          : "<span></span>"
        return """
          <div class="row"><span>\(version.key.description)</span>\(chart)\
          <span class="number">\(row.age.map(TextTable.age) ?? "age unknown")</span>\
          <span class="wide"><span class="tag \(style)">\(isLate ? "overdue" : version.state.rawValue)</span> \
          <code class="dim">\(version.id.description)</code> <small class="dim">\(version.provider)</small></span></div>
          """
      })
  }

  private var rotationSection: HTML {
    let items: [HTML] = recentRotations.elements.reversed().map(Self.item)
    return Self.section("Rotations", items.isEmpty ? ["<p class=\"dim\">None in this period.</p>"] : items)
  }

  private var latencySection: HTML {
    let rows = latencyRows.map { ($0.name, $0.latency.count, [0.5, 0.95, 0.99].map($0.latency.percentile)) }
    let all = rows.flatMap(\.2).map(Charts.binaryLogarithm)
    guard let low = all.min(), let high = all.max() else { return "" }
    let content: [HTML] = rows.map { name, count, parts in
      """
      <div class="row"><span>\(name.operation)<br><small class="dim">\(name.provider), \(Self.grouped(Int(count)))</small></span>\
      \(Charts.latency(parts, from: low, to: high))\
      <span class="number">\(TextTable.latency(parts[0]))<br>\
      <small class="dim">\(TextTable.latency(parts[1])), \(TextTable.latency(parts[2]))</small></span></div>
      """
    }
    return Self.section("Latency: median; 95 and 99 %", content)
  }

  private func events(_ title: String, _ records: Last<AccessRecord>) -> HTML {
    Self.section(title, records.elements.reversed().map(Self.item))
  }

  private static func item(_ record: AccessRecord) -> HTML {
    let isGood = record.success == true
    let error: HTML =
      isGood ? "" : "<br><span class=\"isbad\">\(record.errorCode ?? ""): \(record.errorMessage ?? "")</span>"
    let reason: HTML = record.reason.map { "<br><small class=\"dim\">\($0)</small>" } ?? ""
    return """
      <div class="item"><span class="tag \(isGood ? "isgood" : "isbad")">\(isGood ? "ok" : "failed")</span> \
      \(record.operation.rawValue) <b>\(record.keyID ?? "")</b> by \(record.accessedBy) \
      <small class="dim">\(TextTable.time(record.timestamp))</small>\(error)\(reason)</div>
      """
  }

  /// `1 234 567`
  private static func grouped(_ number: Int) -> String {
    var text = ""
    for (i, digit) in String(number).reversed().enumerated() {
      if i > 0, i % 3 == 0 { text.append("\u{A0}") }
      text.append(digit)
    }
    return String(text.reversed())
  }

  private static func short(_ time: Timestamp) -> String { String(TextTable.time(time).dropFirst(5).prefix(11)) }
}

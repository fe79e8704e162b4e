import AccessLog
import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

@testable import Telemetry

/// The page in a real browser, at the size of a phone and of a desk, in light and dark. With `REPORT_SCREENSHOTS` set
/// to a folder, pages and screenshots stay there to be looked at.
@Suite struct ReportPageTests {
  private static let chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].first {
    FileManager.default.fileExists(atPath: $0)
  }

  /// A week with incidents, of records as the log gives them.
  private static let report = Result { try makeReport() }

  private static func makeReport() throws -> TelemetryReport {
    let now = Timestamp(rfc3339: "2026-11-30T09:30:00Z")!
    let since = now.advanced(by: .seconds(-7 * 86_400))
    func version(_ key: String, hours: Int, _ state: KeyState = .active) throws -> KeyVersion {
      KeyVersion(
        id: .make(now: now.advanced(by: .seconds(-3600 * hours))), key: try KeyName(key), purpose: .wrap, state: state,
        enforcement: .token, provider: "hsm")
    }
    var report = TelemetryReport(
      versions: [
        try version("customer-pii", hours: 7), try version("customer-pii", hours: 31, .deactivated),
        try version("customer-pii", hours: 55, .compromised), try version("documents", hours: 60),
        try version("invoices", hours: 20),
      ], rotationInterval: .seconds(86_400), since: since, now: now)
    var random = SplitMix(state: 7)
    for minute in 0..<(8 * 1440) {
      let time = now.advanced(by: .seconds(-8 * 86_400 + Int64(minute) * 60))
      let hour = Double(minute % 1440) / 60
      let isAttack = minute > 6 * 1440 && minute < 6 * 1440 + 5
      for i in 0..<(isAttack ? 120 : hour > 8 ? 3 : 1) {
        let decrypts = i != 2
        var access = Access(principal: minute % 60 == 7 ? "billing-service <&'\">" : "web")
        if isAttack { access.contextTag = random.next() }
        let isFailure = random.next() % 90 == 0
        let duration = Duration.nanoseconds(30_000 + Int64(random.next() % 90_000))
        for operation in decrypts ? [.unwrap, .decrypt] : [.wrap, AccessEvent.Operation.encrypt] {
          report.add(
            try line(
              AccessEvent(
                operation, timestamp: time, key: try KeyName(minute % 5 == 0 ? "invoices" : "customer-pii"),
                provider: "hsm", access: access, errorCode: isFailure ? .doesNotOpen : nil,
                errorMessage: isFailure ? "the context is another than at encryption" : nil, duration: duration,
                cached: i == 1 && operation == .decrypt)))
        }
      }
      if minute % 1440 == 600 {
        report.add(
          try line(
            AccessEvent(
              .rotate, timestamp: time, key: try KeyName("customer-pii"), access: Access(principal: "rotation-service"),
              errorCode: minute > 10_000 ? .providerUnavailable : nil,
              errorMessage: minute > 10_000 ? "the token does not answer" : nil, reason: "scheduled")))
      }
    }
    return report
  }

  private static func line(_ event: AccessEvent) throws -> AccessRecord {
    var record = try #require(AccessRecord(line: Array(minimal.utf8)[...]))
    record.timestamp = event.timestamp
    record.operation = event.operation
    record.keyID = event.key?.description
    record.provider = event.provider
    record.success = event.success
    record.errorCode = event.errorCode?.rawValue
    record.errorMessage = event.errorMessage
    record.accessedBy = event.access.principal ?? AccessRecord.unidentified
    record.contextTag = event.access.contextTag
    record.reason = event.reason
    record.durationMicroseconds = Double(event.duration.components.attoseconds / 1_000_000_000) / 1000
    record.cached = event.cached
    return record
  }
  private static let minimal =
    #"{"timestamp":"2026-11-24T08:00:00Z","sequence":1,"operation":"wrap","phase":"outcome","success":true}"#

  @Test func thePageStandsAloneAndTrustsNoText() throws {
    let html = try Self.report.get().html
    // Bytes: in characters, a "<" that a scalar before it was joined to would not be found.
    let bytes = Array(html.utf8)
    for part in ["http:", "https:", "<script", "url(", "service <&"] { #expect(!bytes.contains(part.utf8), "\(part)") }
    #expect(html.contains("default-src 'none'"))
    #expect(html.contains("billing-service &lt;&amp;&#39;&quot;&gt;"))
    for part in [
      "Security incidents", "many-contexts", "rotation-failed", "Keys: ages and states", "overdue", "compromised",
      "By hour of the day", "By principal", "By key", "By operation", "By outcome", "Latency", "Cache hits",
      "Recent failures", "Recent events", "Rotations",
    ] { #expect(html.contains(part), "\(part)") }
  }

  /// U+0D4E makes one character with what comes after it.
  @Test func noScalarHidesATag() throws {
    var record = try Self.line(AccessEvent(.wrap))
    record.accessedBy = "\u{0D4E}<b id=x\u{0D4E}> \u{0D4E}\u{1B}[2J \u{0D4E}\" \u{0D4E}' \u{0D4E}&"
    let now = record.timestamp.advanced(by: .seconds(1))
    let report = TelemetryReport(
      records: [record], versions: [], rotationInterval: .seconds(3600), since: .init(seconds: 0), now: now)
    let bytes = Array(report.html.utf8)
    #expect(!bytes.contains("<b id".utf8))
    #expect(
      bytes.contains("\u{0D4E}&lt;b id=x\u{0D4E}&gt; \u{0D4E}?[2J \u{0D4E}&quot; \u{0D4E}&#39; \u{0D4E}&amp;".utf8))
    #expect(!bytes.contains(0x1B) && !report.text.utf8.contains(0x1B))
  }

  @Test(
    .enabled(if: chromium != nil, "needs Debian's chromium; Scripts/setup.sh test installs it"),
    arguments: [(390, 844, false), (390, 844, true), (1280, 900, false), (1280, 900, true)])
  func itIsReadInABrowser(_ width: Int, _ height: Int, _ isDark: Bool) async throws {
    let browser = try #require(Self.chromium)
    let folder = TemporaryFolder()
    let kept = ProcessInfo.processInfo.environment["REPORT_SCREENSHOTS"]
    let name = "report-\(width)-\(isDark ? "dark" : "light")"
    let page = (kept ?? folder.path) + "/\(name).html"
    try Self.report.get().writeHTML(to: FilePath(page), replacing: true)

    // What the layout came to, by a script that only this copy has.
    let probe = folder.path + "/probe.html"
    let policy = #"<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"#
    let html = try String(contentsOfFile: page, encoding: .utf8)
    #expect(html.contains(policy))
    let script = """
      <script>const d=document.documentElement,b=getComputedStyle(document.body);let over=0,small=0;
      for(const e of document.querySelectorAll('main *')){if(e.closest('svg'))continue;const r=e.getBoundingClientRect();
      if(r.right>d.clientWidth+1)over++;if(e.firstChild&&e.firstChild.nodeType==3&&parseFloat(getComputedStyle(e).fontSize)<12)small++}
      document.title=['PROBE',d.clientWidth,d.scrollWidth,over,small,b.backgroundColor,b.color,
      document.querySelectorAll('svg rect').length].join('|')</script>
      """
    try html.replacingOccurrences(of: policy, with: "")
      .replacingOccurrences(of: "</body>", with: script + "</body>").write(
        toFile: probe, atomically: true, encoding: .utf8)
    let arguments = [
      "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1",
      "--user-data-dir=\(folder.path)/profile", "--window-size=\(width),\(height)",
      "--blink-settings=preferredColorScheme=\(isDark ? 0 : 1)",
    ]
    let dump = try await runProcess(browser, arguments + ["--dump-dom", "file://" + probe])
    let title = try #require(dump.output.split(separator: "PROBE|").dropFirst().first?.split(separator: "<").first)
    let values = title.split(separator: "|").map(String.init)
    try #require(values.count == 7)
    let viewport = try #require(Int(values[0]))
    #expect(Int(values[1]) == viewport, "wider than the window: \(title)")
    #expect(values[2] == "0", "elements beyond the edge: \(title)")
    #expect(values[3] == "0", "text smaller than 12 px: \(title)")
    #expect(values[4] == (isDark ? "rgb(20, 24, 27)" : "rgb(251, 251, 249)"))
    #expect(Int(values[6]).map { $0 > 100 } == true)

    let picture = (kept ?? folder.path) + "/\(name).png"
    let taller = arguments.map {
      $0.hasPrefix("--window-size") ? "--window-size=\(width),\(kept == nil ? height : 4000)" : $0
    }
    _ = try await runProcess(browser, taller + ["--screenshot=\(picture)", "file://" + page])
    let size = try FileManager.default.attributesOfItem(atPath: picture)[.size] as? Int
    #expect(size.map { $0 > 10_000 } == true)
  }
}

import Foundation
import InMemoryTracing
import Strongroom
import SystemPackage
import TestSupport
import Testing
import Tracing

/// A manager as an application opens it, with all that looks at its events.
@Suite struct ManagerTelemetryTests {
  private func open(_ folder: TemporaryFolder, _ more: String, attended: Bool = false) throws -> DataAtRestManager {
    let file = folder.path + "/strongroom.yaml"
    try """
    providers: { test: { type: memory } }
    data-at-rest: { kms-key-id: pii }
    \(more)
    """.write(toFile: file, atomically: true, encoding: .utf8)
    return try .open(.load(file: FilePath(file), environment: [:]), attended: attended)
  }

  @Test func metricsAlertsAndReportTellTheSame() async throws {
    let folder = TemporaryFolder()
    let manager = try open(
      folder,
      """
      metrics: { file: strongroom.prom, every: 1h }
      alerts: { send-to: "file:alerts.jsonl" }
      """)
    let context = try EncryptionContext([("row", "1")])
    try await withPrincipal("billing") {
      try await manager.createKey(KeyName("pii"))
      let sealed = try await manager.encrypt("secret", context: context)
      for _ in 0..<12 {
        await #expect(throws: KMSError.self) { try await manager.decrypt(sealed, context: .empty) }
      }
      #expect(try await manager.decryptString(sealed, context: context) == "secret")
      await #expect(throws: KMSError.self) { try await manager.rotate(KeyName("nothing"), reason: "test") }
    }
    // The provider is asked by a task of its own, which may be late where many others run.
    for _ in 0..<1200 {
      let asked = try await manager.generateTelemetryReport(since: Timestamp.now().advanced(by: .seconds(-3600)))
      if asked.json().contains("\"health\"") { break }
      try await Task.sleep(for: .milliseconds(50))
    }
    let report = try await manager.generateTelemetryReport(since: Timestamp.now().advanced(by: .seconds(-3600)))
    await manager.close()

    let metrics = try String(contentsOfFile: folder.path + "/strongroom.prom", encoding: .utf8)
    for line in [
      #"strongroom_operations_total{operation="decrypt",outcome="failure",provider="",process="strongroom"} 12"#,
      #"strongroom_operations_total{operation="decrypt",outcome="success",provider="",process="strongroom"} 1"#,
      #"strongroom_operations_total{operation="rotate",outcome="failure",provider="",process="strongroom"} 1"#,
      #"strongroom_alerts_total{rule="failed-operations",process="strongroom"} 1"#,
      #"strongroom_alerts_total{rule="rotation-failed",process="strongroom"} 1"#,
      #"strongroom_provider_up{provider="test",process="strongroom"} 1"#,
    ] { #expect(metrics.contains(line + "\n"), "\(line)") }
    let alerts = try String(contentsOfFile: folder.path + "/alerts.jsonl", encoding: .utf8)
    #expect(alerts.split(separator: "\n").count == 2 && alerts.contains("10 of 11 encrypts and decrypts under key pii"))

    let json = try #require(JSONSerialization.jsonObject(with: Data(report.json().utf8)) as? [String: Any])
    let incidents = try #require(json["security_incidents"] as? [[String: Any]])
    #expect(Set(incidents.compactMap { $0["rule"] as? String }) == ["failed-operations", "rotation-failed"])
    #expect(report.text.contains("Security incidents") && report.html.contains("failed-operations"))
  }

  @Test func aPersonsCommandWritesNoMetricsFile() async throws {
    let folder = TemporaryFolder()
    let manager = try open(folder, "metrics: { file: strongroom.prom }", attended: true)
    try await manager.createKey(KeyName("pii"))
    await manager.close()
    #expect(!FileManager.default.fileExists(atPath: folder.path + "/strongroom.prom"))
  }

  @Test func spansStandAroundOperationsAndCalls() async throws {
    let tracer = InMemoryTracer()
    let folder = TemporaryFolder()
    let manager = try open(folder, "alerts: { send-to: [] }")
    let key = try KeyName("traced")
    try await withTracer(tracer) {
      try await withPrincipal("billing") {
        try await manager.createKey(key)
        let sealed = try await manager.encrypt("secret", key: key)
        _ = try await manager.decrypt(sealed)
        await #expect(throws: KMSError.self) {
          try await manager.decrypt(sealed, context: EncryptionContext([("a", "b")]))
        }
      }
    }
    await manager.close()
    let spans = tracer.finishedSpans.filter { $0.attributes.get("strongroom.key") == .string(key.description) }
    func named(_ name: String) -> [FinishedInMemorySpan] { spans.filter { $0.operationName == "strongroom \(name)" } }
    let encrypt = try #require(named("encrypt").first)
    let wrap = try #require(named("wrap").first)
    #expect(wrap.spanContext.parentSpanID == encrypt.spanID && wrap.traceID == encrypt.traceID)
    #expect(encrypt.startInstant.nanosecondsSinceEpoch <= wrap.startInstant.nanosecondsSinceEpoch)
    #expect(wrap.endInstant.nanosecondsSinceEpoch <= encrypt.endInstant.nanosecondsSinceEpoch)
    #expect(encrypt.attributes.get("strongroom.principal") == .string("billing"))
    #expect(named("decrypt").count == 2 && named("unwrap").count == 2)
    let failed = try #require(named("decrypt").last)
    #expect(failed.status?.code == .error && failed.attributes.get("error.type") == .string("does-not-open"))
    #expect(!"\(spans)".contains("secret"))
    // The code is told; no message, nor an error that holds one.
    #expect(spans.flatMap(\.errors).isEmpty)
  }

  @Test(arguments: [
    "metrics: { file: metrics.txt }", "metrics: { every: 0s }", "alerts: { disabled: [no-rule] }",
    "alerts: { send-to: [mail] }", "alerts: { rate: { factor: 1 } }", "alerts: { failed-operations: { percent: 101 } }",
    "alerts: { send-to: [\"command:\"] }",
  ])
  func settingsThatMeanNothingAreRefused(_ text: String) {
    let folder = TemporaryFolder()
    let error = #expect(throws: KMSError.self) { _ = try open(folder, text) }
    #expect(error?.code == .configurationInvalid)
    #expect(error?.message.contains("strongroom.yaml:") == true, "\(error?.message ?? "")")
  }

  @Test func everySettingIsRead() throws {
    let folder = TemporaryFolder()
    let file = folder.path + "/strongroom.yaml"
    try """
    providers: { test: { type: memory } }
    metrics: { file: a.prom, every: 30s }
    alerts:
      send-to: [stderr, "command:/usr/bin/notify", "file:alerts.jsonl"]
      disabled: [latency, rate]
      repeat-after: 2h
      learning: 48h
      failed-operations: { count: 3, percent: 1 }
      rate: { factor: 8, at-least: 50 }
      many-contexts: { factor: 9, at-least: 40 }
      latency: { factor: 2.5 }
    """.write(toFile: file, atomically: true, encoding: .utf8)
    let read = try SuiteConfiguration.load(file: FilePath(file), environment: [:]).telemetry
    var alerts = AlertSettings()
    alerts.destinations = [
      .standardError, .command("/usr/bin/notify"), .file(FilePath(folder.path + "/alerts.jsonl")),
    ]
    alerts.off = [.latency, .rate]
    alerts.repeatAfter = .seconds(7200)
    alerts.learning = .seconds(172_800)
    (alerts.failures, alerts.failurePercent) = (3, 1)
    (alerts.rateFactor, alerts.rateAtLeast) = (8, 50)
    (alerts.contextsFactor, alerts.contextsAtLeast) = (9, 40)
    alerts.latencyFactor = 2.5
    alerts.rotationInterval = .seconds(86_400)
    #expect(read.alerts == alerts && read.metricsInterval == .seconds(30))
    #expect(read.metricsFile == FilePath(folder.path + "/a.prom"))
  }
}

import CoreMetrics
import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

@testable import Telemetry

let promtool = "/usr/bin/promtool"
let hasPromtool = FileManager.default.fileExists(atPath: promtool)
let monitoring = URL(filePath: #filePath).appending(path: "../../../docs/monitoring").standardized.path

@Suite struct MetricsTests {
  private func event(
    _ operation: AccessEvent.Operation, provider: String? = "hsm", error: KMSError.Code? = nil, cached: Bool = false,
    count: Int? = nil
  ) -> AccessEvent {
    AccessEvent(
      operation, timestamp: Timestamp(seconds: 1_700_000_000), key: try! KeyName("pii"), provider: provider,
      errorCode: error, duration: .microseconds(40), cached: cached, count: count)
  }

  private func filled() -> (PrometheusFactory, MetricsObserver) {
    let factory = PrometheusFactory()
    let metrics = MetricsObserver(factory: factory)
    for _ in 0..<3 { metrics.took(event(.unwrap), afterNanoseconds: 2000) }
    metrics.took(event(.unwrap, error: .doesNotOpen), afterNanoseconds: 2000)
    metrics.took(event(.decrypt), afterNanoseconds: 2000)
    metrics.took(event(.decrypt, cached: true, count: 5), afterNanoseconds: 2000)
    metrics.took(
      AccessEvent(.rotate, phase: .intent, timestamp: Timestamp(seconds: 1_700_000_000)), afterNanoseconds: 2000)
    metrics.refused(event(.wrap))
    metrics.sent(Alert(.rate, at: .now(), "x"))
    return (factory, metrics)
  }

  @Test func everyEventIsCountedOnce() {
    let lines = Set(filled().0.text.split(separator: "\n").map(String.init))
    for line in [
      #"strongroom_operations_total{operation="unwrap",outcome="success",provider="hsm"} 3"#,
      #"strongroom_operations_total{operation="unwrap",outcome="failure",provider="hsm"} 1"#,
      #"strongroom_errors_total{code="does-not-open",operation="unwrap",provider="hsm"} 1"#,
      #"strongroom_operations_total{operation="decrypt",outcome="success",provider=""} 6"#,
      #"strongroom_operations_total{operation="rotate",outcome="failure",provider=""} 0"#,
      #"strongroom_cache_lookups_total{outcome="hit"} 5"#, #"strongroom_cache_lookups_total{outcome="miss"} 1"#,
      #"strongroom_operation_duration_seconds_bucket{operation="unwrap",provider="hsm",le="2.5e-05"} 0"#,
      #"strongroom_operation_duration_seconds_bucket{operation="unwrap",provider="hsm",le="5e-05"} 4"#,
      #"strongroom_operation_duration_seconds_count{operation="unwrap",provider="hsm"} 4"#,
      #"strongroom_operation_duration_seconds_sum{operation="unwrap",provider="hsm"} 0.00016"#,
      "strongroom_access_log_wait_seconds_count 7", "strongroom_access_log_refused_total 1",
      "strongroom_access_log_last_event_timestamp_seconds 1700000000",
      #"strongroom_alerts_total{rule="rate"} 1"#, #"strongroom_alerts_total{rule="latency"} 0"#,
    ] { #expect(lines.contains(line), "\(line)") }
  }

  @Test func gaugesTellHowKeysAndProvidersStand() throws {
    let factory = PrometheusFactory()
    let state = StateMetrics(factory: factory)
    let now = Timestamp.now()
    func version(_ key: String, hours: Int, _ state: KeyState = .active) throws -> KeyVersion {
      KeyVersion(
        id: .make(now: now.advanced(by: .seconds(-3600 * hours))), key: try KeyName(key), purpose: .wrap, state: state,
        enforcement: .token, provider: "hsm")
    }
    let day = Duration.seconds(86_400)
    state.record(
      [try version("pii", hours: 30), try version("pii", hours: 60, .deactivated), try version("gone", hours: 1)],
      rotationInterval: day, now: now)
    state.record([try version("pii", hours: 30)], rotationInterval: day, now: now)
    var health = ProviderHealth(isServing: true, detail: "")
    health.sessions = ProviderSessions(open: 5, busy: 2, limit: 8)
    state.record(health, of: ProviderIdentity(kind: "pkcs11", name: "hsm"))
    let text = factory.text
    for line in [
      #"strongroom_key_age_seconds{key="pii"} 108000"#, #"strongroom_key_rotation_overdue{key="pii"} 1"#,
      "strongroom_key_rotation_interval_seconds 86400", #"strongroom_key_versions{key="pii",state="active"} 1"#,
      #"strongroom_provider_sessions{provider="hsm",state="busy"} 2"#,
      #"strongroom_provider_sessions{provider="hsm",state="idle"} 3"#,
      #"strongroom_provider_sessions_limit{provider="hsm"} 8"#, #"strongroom_provider_up{provider="hsm"} 1"#,
    ] { #expect(text.contains(line + "\n"), "\(line)") }
    #expect(!text.contains("gone") && !text.contains("deactivated"))  // what is gone is not told any more
  }

  /// `StrongroomRotationOverdue` looks at ages, and would never fall silent.
  @Test func aKeyThatDoesNotRotateHasNoAge() throws {
    let factory = PrometheusFactory()
    let now = Timestamp.now()
    let versions = try [("safe", KeyPurpose.recovery), ("pii", .wrap), ("direct", .encrypt)].map { name, purpose in
      KeyVersion(
        id: .make(now: now.advanced(by: .seconds(-30 * 86_400))), key: try KeyName(name), purpose: purpose,
        state: .active, enforcement: .token, provider: "hsm")
    }
    StateMetrics(factory: factory).record(versions, rotationInterval: .seconds(86_400), now: now)
    let lines = factory.text.split(separator: "\n").filter { $0.hasPrefix("strongroom_key_") }
    for key in ["pii", "direct"] { #expect(lines.contains("strongroom_key_age_seconds{key=\"\(key)\"} 2592000")) }
    #expect(lines.filter { $0.contains("safe") } == [#"strongroom_key_versions{key="safe",state="active"} 1"#])
  }

  @Test func labelsCannotGrowOrBreakTheFile() {
    let (factory, metrics) = filled()
    for i in 0..<3000 { metrics.took(event(.init(rawValue: "own-\(i)")), afterNanoseconds: 1) }
    for i in 0..<3000 { metrics.took(event(.wrap, error: .init(rawValue: "code-\(i)")), afterNanoseconds: 1) }
    let lines = factory.text.split(separator: "\n")
    #expect(lines.count { $0.hasPrefix("strongroom_operations_total{") } < 1000)
    #expect(lines.contains { $0.contains(#"operation="other",outcome="success""#) })
    #expect(lines.count { $0.hasPrefix("strongroom_errors_total{") } < 100)
    Counter(label: "own.metric", dimensions: [("a b", "x\"\\\ny")], factory: factory).increment()
    #expect(factory.text.contains("own_metric_total{a_b=\"x\\\"\\\\\\ny\"} 1\n"))
    for i in 0..<5000 { Counter(label: "many", dimensions: [("i", "\(i)")], factory: factory).increment() }
    #expect(
      factory.text.split(separator: "\n").count { $0.hasPrefix("many_total{") } == PrometheusFactory.largestFamily)
  }

  @Test(.enabled(if: hasPromtool, "needs Debian's prometheus; Scripts/setup.sh test installs it"))
  func promtoolFindsNothingWrong() async throws {
    let (factory, _) = filled()
    StateMetrics(factory: factory).record([], rotationInterval: .seconds(86_400))
    Recorder(label: "own_sizes_bytes", dimensions: [], aggregate: true, factory: factory).record(3)
    let result = try await runProcess(promtool, ["check", "metrics"], input: Data(factory.text.utf8))
    #expect(result.status == 0 && result.error.isEmpty, "\(result.error)\(result.output)")
  }

  @Test func theFileIsWholeAndForOthersToRead() async throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/strongroom.prom"
    let (factory, metrics) = filled()
    let file = try MetricsFile(FilePath(path), factory: factory, every: .seconds(3600))
    #expect(try String(contentsOfFile: path, encoding: .utf8) == MetricsFile.text(factory, in: FilePath(path)))
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    #expect(mode == 0o644)
    metrics.took(event(.unwrap), afterNanoseconds: 1)
    await file.flush()
    #expect(try String(contentsOfFile: path, encoding: .utf8) == MetricsFile.text(factory, in: FilePath(path)))
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["strongroom.prom"])
    #expect(throws: (any Error).self) {
      _ = try MetricsFile(FilePath(folder.path + "/nowhere/x.prom"), factory: factory)
    }
  }
}

@Suite struct MonitoringDocsTests {
  @Test(.enabled(if: hasPromtool, "needs Debian's prometheus; Scripts/setup.sh test installs it"))
  func rulesPassTheirTests() async throws {
    let result = try await runProcess(
      promtool, ["test", "rules", "strongroom.rules.test.yml"], folder: monitoring)
    #expect(result.status == 0, "\(result.output)\(result.error)")
  }

  /// Names that no metric has would be a rule that never speaks, or a panel that stays empty.
  @Test(arguments: ["strongroom.rules.yml", "grafana-dashboard.json", "README.md"])
  func namesAreThoseOfMetrics(_ file: String) throws {
    let text = try String(contentsOfFile: monitoring + "/" + file, encoding: .utf8)
    let names = text.matches(of: /strongroom_[a-z_]*[a-z]/).map { String($0.output) }
      .map { $0.replacing(/_(bucket|sum|count)$/, with: "") }
    #expect(names.count > 10)
    #expect(Set(names).subtracting(MetricNames.help.keys) == [])
    if file == "README.md" { #expect(Set(MetricNames.help.keys).subtracting(names) == []) }
    if file.hasSuffix(".json") { _ = try JSONSerialization.jsonObject(with: Data(text.utf8)) }
  }

  private func queries(in value: Any) -> [String] {
    if let object = value as? [String: Any] {
      return object.flatMap { name, value in
        if name == "expr", let query = value as? String { return [query] }
        return queries(in: value)
      }
    }
    return (value as? [Any])?.flatMap(queries(in:)) ?? []
  }

  /// As recording rules, with values for Grafana's variables.
  @Test(.enabled(if: hasPromtool, "needs Debian's prometheus; Scripts/setup.sh test installs it"))
  func theDashboardsQueriesAreQueries() async throws {
    let data = try Data(contentsOf: URL(filePath: monitoring + "/grafana-dashboard.json"))
    let queries = queries(in: try JSONSerialization.jsonObject(with: data))
    #expect(queries.count >= 15)
    func check(_ queries: [String]) async throws -> Int32 {
      let rules = queries.map { query in
        let plain = query.replacing(/\$__(rate_interval|range|interval)/, with: "5m").replacing("$", with: "")
        return ["record": "a:b", "expr": plain]
      }
      // JSON is YAML too.
      let file = ["groups": [["name": "dashboard", "rules": rules] as [String: Any]]]
      let folder = TemporaryFolder()
      try JSONSerialization.data(withJSONObject: file, options: .withoutEscapingSlashes).write(
        to: URL(filePath: folder.path + "/rules.yml"))
      return try await runProcess(promtool, ["check", "rules", "--lint=none", "rules.yml"], folder: folder.path).status
    }
    #expect(try await check(queries) == 0)
    #expect(try await check(queries + ["sum(rate(x[5m])"]) != 0)
  }

  @Test func everyRuleIsInTheDocumentation() throws {
    let text = try String(contentsOfFile: monitoring + "/README.md", encoding: .utf8)
    for rule in Alert.Rule.all { #expect(text.contains("`\(rule)`"), "\(rule)") }
  }
}

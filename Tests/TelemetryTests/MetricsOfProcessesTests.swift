import CoreMetrics
import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

@testable import Telemetry

/// Files of two processes, which one node_exporter reads.
@Suite struct MetricsOfProcessesTests {
  private func series(_ text: String) -> Set<Substring> {
    Set(text.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { $0.split(separator: " ").first })
  }

  @Test func twoFilesHaveNoSeriesInCommon() throws {
    let folder = TemporaryFolder()
    let texts = try ["strongroom.prom", "billing.prom"].map { name in
      let (path, factory) = (FilePath(folder.path + "/" + name), PrometheusFactory())
      _ = MetricsObserver(factory: factory)
      Counter(label: "own", dimensions: [("process", "mine"), ("x", ",process=\"")], factory: factory).increment()
      Counter(label: "other", dimensions: [("x", ",process=\"")], factory: factory).increment()
      _ = try MetricsFile(path, factory: factory, every: .seconds(3600))
      return (try String(contentsOfFile: path.string, encoding: .utf8), factory.text)
    }
    #expect(series(texts[0].0).intersection(series(texts[1].0)) == [#"own_total{process="mine",x=",process=\""}"#])
    #expect(texts[0].0.contains("strongroom_access_log_refused_total{process=\"strongroom\"} 0\n"))
    #expect(texts[1].0.contains("strongroom_access_log_wait_seconds_bucket{process=\"billing\",le=\"+Inf\"} 0\n"))
    #expect(texts[1].0.contains(#"other_total{x=",process=\"",process="billing"} 1"#))
    #expect(texts[1].0.contains("strongroom_metrics_written_timestamp_seconds{process=\"billing\"} "))
    // What an HTTP handler serves has the labels that the scrape gives it.
    #expect(!texts[0].1.contains("process=\"strongroom\""))
  }

  @Test(.enabled(if: hasPromtool, "needs Debian's prometheus; Scripts/setup.sh test installs it"))
  func promtoolFindsNothingWrong() async throws {
    let factory = PrometheusFactory()
    _ = MetricsObserver(factory: factory)
    let text = MetricsFile.text(factory, in: "/var/lib/web \"1\".prom")
    let result = try await runProcess(promtool, ["check", "metrics"], input: Data(text.utf8))
    #expect(result.status == 0 && result.error.isEmpty, "\(result.error)\(result.output)")
  }

  /// `increase()` does not see a counter that begins with one.
  @Test func countersThatRulesWatchAreThereFromTheStart() throws {
    let rules = try String(contentsOfFile: monitoring + "/strongroom.rules.yml", encoding: .utf8)
    let watched = Set(rules.matches(of: /increase\((strongroom_[a-z_]+)/).map { String($0.output.1) })
    #expect(watched.count == 3)
    let factory = PrometheusFactory()
    _ = MetricsObserver(factory: factory)
    let series = series(factory.text)
    for name in watched { #expect(series.contains { $0.hasPrefix(name) }, "\(name)") }
    for operation in ["encrypt", "decrypt", "rotate"] {
      for outcome in ["success", "failure"] {
        let labels = "operation=\"\(operation)\",outcome=\"\(outcome)\",provider=\"\""
        #expect(series.contains("strongroom_operations_total{\(labels)}"[...]))
      }
    }
    for rule in Alert.Rule.all { #expect(series.contains("strongroom_alerts_total{rule=\"\(rule)\"}"[...])) }
    #expect(factory.text.contains("\nstrongroom_access_log_refused_total 0\n"))
  }
}

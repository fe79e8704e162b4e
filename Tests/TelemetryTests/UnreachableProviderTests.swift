import Foundation
import InMemoryProvider
import KMSTesting
import Strongroom
import SystemPackage
import TestSupport
import Testing

/// Of two providers one cannot be asked for its keys.
@Suite(.timeLimit(.minutes(5))) struct UnreachableProviderTests {
  private let folder = TemporaryFolder()
  private let here = InMemoryProvider(name: "here")
  private let goneBase = InMemoryProvider(name: "gone")
  private let old = Timestamp.now().advanced(by: .seconds(-30 * 3600))

  /// `pii` is overdue; `moved` has a version here that is retired, and one there that is not.
  private func open(_ more: String = "", attended: Bool) async throws -> DataAtRestManager {
    let file = folder.path + "/strongroom.yaml"
    try """
    providers: { here: { type: memory }, gone: { type: memory } }
    provider: here
    \(more)
    """.write(toFile: file, atomically: true, encoding: .utf8)
    let moved = try KeyName("moved")
    _ = try await here.createKeyVersion(NewKeyVersion(key: KeyName("pii"), id: .make(now: old)))
    let retired = try await here.createKeyVersion(NewKeyVersion(key: moved, id: .make(now: old)))
    _ = try await here.setState(.deactivated, of: retired.id)
    _ = try await goneBase.createKeyVersion(NewKeyVersion(key: moved))
    let gone = FaultInjectingProvider(goneBase)
    gone.fail(.listVersions, with: KMSError(.providerUnavailable, "the token <b>does not answer</b>"))
    let configuration = try SuiteConfiguration.load(file: FilePath(file), environment: [:])
    return try DataAtRestManager.open(configuration, attended: attended, providers: [here, gone])
  }

  @Test func theReportIsOfTheOthersAndSaysSo() async throws {
    let manager = try await open(attended: true)
    let report = try await manager.generateTelemetryReport()
    await manager.close()
    let (text, html) = (report.text, report.html)
    #expect(text.contains("  provider gone could not be asked: provider-unavailable: the token"))
    #expect(text.contains("key pii is 1 d 6 h old") && !text.contains("key moved has no active version"))
    #expect(html.contains("provider gone could not be asked: provider-unavailable: the token &lt;b&gt;does not"))
    let json = try #require(JSONSerialization.jsonObject(with: Data(report.json().utf8)) as? [String: Any])
    #expect(
      json["unreachable_providers"] as? [[String: String]] == [
        [
          "provider": "gone", "error_code": "provider-unavailable",
          "error_message": "the token <b>does not answer</b>",
        ]
      ])
    #expect((json["key_versions"] as? [[String: Any]])?.count == 2)
  }

  @Test func gaugesAndAlertsAreOfTheOthers() async throws {
    let manager = try await open(
      """
      metrics: { file: strongroom.prom, every: 1h }
      alerts: { send-to: "file:alerts.jsonl" }
      """, attended: false)
    // The providers are asked by a task of its own.
    for _ in 0..<6000 where !FileManager.default.fileExists(atPath: folder.path + "/alerts.jsonl") {
      try await Task.sleep(for: .milliseconds(10))
    }
    await manager.close()
    let metrics = try String(contentsOfFile: folder.path + "/strongroom.prom", encoding: .utf8)
    #expect(metrics.contains("strongroom_key_age_seconds{key=\"pii\",process=\"strongroom\"} 108"))
    #expect(metrics.contains("strongroom_key_rotation_overdue{key=\"pii\",process=\"strongroom\"} 1\n"))
    #expect(metrics.contains("strongroom_key_rotation_overdue{key=\"moved\",process=\"strongroom\"} 0\n"))
    let alerts = try String(contentsOfFile: folder.path + "/alerts.jsonl", encoding: .utf8)
    #expect(alerts.contains("key pii is overdue for rotation") && !alerts.contains("moved"))
  }
}

import Foundation
import KMSCore
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import Telemetry

@Suite struct AlertSendingTests {
  private func failure(_ key: String, at second: Int = 0) -> AccessEvent {
    AccessEvent(
      .rotate, timestamp: SyntheticWeek.begin.advanced(by: .seconds(second)), key: try! KeyName(key),
      access: Access(principal: "rotation-service"), errorCode: .providerUnavailable, errorMessage: "gone")
  }

  private func settings(_ destinations: AlertSettings.Destination...) -> AlertSettings {
    var settings = AlertSettings()
    settings.destinations = destinations
    return settings
  }

  @Test func aFileGetsOneLineForEachAlert() async throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/alerts.jsonl"
    let sent = Mutex<[Alert]>([])
    let monitor = AlertMonitor(settings(.file(FilePath(path)))) { alert in sent.withLock { $0.append(alert) } }
    for second in [0, 10, 4000] { monitor.took(failure("pii", at: second), afterNanoseconds: 1) }
    monitor.took(failure("other\u{0}".replacing("\u{0}", with: "")), afterNanoseconds: 1)
    monitor.refused(failure("pii"))
    monitor.took(AccessEvent(.sign, errorCode: .providerFailed), afterNanoseconds: 1)
    await monitor.flush()
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
    let alerts = try lines.map { line -> [String: Any] in
      let json = try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
      #expect(json["version"] as? String == "4" && json["status"] as? String == "firing")
      return try #require((json["alerts"] as? [[String: Any]])?.first)
    }
    let labels = alerts.compactMap { $0["labels"] as? [String: String] }
    #expect(
      labels.map { $0["alertname"] } == [
        "strongroom-rotation-failed", "strongroom-rotation-failed", "strongroom-rotation-failed",
        "strongroom-log-trouble", "strongroom-checkpoint-failed",
      ])
    #expect(labels.map { $0["key"] } == ["pii", "pii", "other", nil, nil])
    let notes = alerts.compactMap { $0["annotations"] as? [String: String] }
    #expect(notes.map { $0["repeats"] } == ["0", "1", "0", "0", "0"])  // ten seconds later was not sent
    #expect(alerts[1]["startsAt"] as? String == "2026-11-22T01:06:40.000000000Z")
    #expect(sent.withLock { $0.count } == 5)
  }

  @Test(arguments: [false, true]) func troubleWithTheLogCanBeSwitchedOff(_ isOff: Bool) async throws {
    var settings = AlertSettings()
    settings.destinations = []
    if isOff { settings.off = [.logTrouble] }
    let found = Mutex<[Alert.Rule]>([])
    let monitor = AlertMonitor(settings) { alert in found.withLock { $0.append(alert.rule) } }
    monitor.refused(failure("pii"))
    let lost = AccessEvent(
      .init(rawValue: "log-copy"), timestamp: .now().advanced(by: .seconds(7200)), errorCode: .accessLogUnavailable)
    monitor.took(lost, afterNanoseconds: 0)
    await monitor.flush()
    #expect(found.withLock { $0 } == (isOff ? [] : [.logTrouble, .logTrouble]))
  }

  @Test func aCommandGetsTheAlertAndNothingElse() async throws {
    let folder = TemporaryFolder()
    let script = folder.path + "/notify"
    try "#!/bin/sh\ncat >> \(folder.path)/got\nls -l /proc/self/fd | wc -l >> \(folder.path)/open\n"
      .write(toFile: script, atomically: true, encoding: .utf8)
    try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: script)
    let monitor = AlertMonitor(settings(.command(FilePath(script))))
    monitor.took(failure("pii"), afterNanoseconds: 1)
    monitor.took(failure("other"), afterNanoseconds: 1)
    await monitor.flush()
    let got = try String(contentsOfFile: folder.path + "/got", encoding: .utf8)
    #expect(got.split(separator: "\n").count == 2 && got.contains("rotation of key pii failed: provider-unavailable"))
    // Its own three, the pipe to wc, and the folder it lists: no file of ours.
    let open = try String(contentsOfFile: folder.path + "/open", encoding: .utf8).split(separator: "\n").compactMap {
      Int($0.trimmingCharacters(in: .whitespaces))
    }
    #expect(open.allSatisfy { $0 <= 6 } && open.count == 2, "\(open)")
  }

  @Test func aCommandThatIsNotThereHoldsNothingUp() async throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/alerts.jsonl"
    let monitor = AlertMonitor(settings(.command("/nowhere/notify"), .file(FilePath(path))))
    monitor.took(failure("pii"), afterNanoseconds: 1)
    await monitor.flush()
    #expect(try String(contentsOfFile: path, encoding: .utf8).contains("rotation-failed"))
  }

  @Test func overdueKeysAreTold() async throws {
    let sent = Mutex<[Alert]>([])
    let monitor = AlertMonitor(settings()) { alert in sent.withLock { $0.append(alert) } }
    let now = Timestamp.now()
    let versions = try [("late", 30), ("fresh", 2), ("nearly", 24)].map { name, hours in
      KeyVersion(
        id: .make(now: now.advanced(by: .seconds(-3600 * hours))), key: try KeyName(name), purpose: .wrap,
        state: .active, enforcement: .token, provider: "hsm")
    }
    for _ in 0..<3 { monitor.check(versions, rotationInterval: .seconds(86_400), now: now) }
    #expect(sent.withLock { $0.map(\.key) } == ["late"])
  }
}

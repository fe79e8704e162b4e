import AccessLog
import Foundation
import Strongroom
import SystemPackage
import TestSupport
import Testing

/// `key destroy`, killed before and after each event of the access log.
struct DestroyKillTests {
  @Test(
    "the log has the intent, the version is whole or gone, and a second run ends it", arguments: ["openssl", "pkcs11"])
  func killed(provider: String) async throws {
    if provider == "pkcs11", !SoftHSM.isInstalled { try Test.cancel("SoftHSM is not installed") }
    let files = TemporaryFolder()
    let folder = FilePath(files.path)
    try folder.appending("secret").write(Array("passphrase of the store".utf8))
    try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: folder.appending("secret").string)
    var settings = "type: openssl, keystore: ./keys.p12, passphrase-source: 'file:secret'"
    if provider == "pkcs11" {
      let token = try SoftHSM.makeToken()
      try folder.appending("secret").write(Array(token.pin.utf8))
      settings = "type: pkcs11, uri: '\(token.uri)', pin-source: 'file:secret'"
    }
    let file = folder.appending("strongroom.yaml")
    // It is not about deadlines.
    try file.write(Array("providers: { p: { \(settings) } }\naccess-log: { deadline: 60s }\n".utf8))

    var outcomes: Set<String> = []
    var number = 0
    var victim = try await Victim("key-0", file)
    while true {
      let outcome = try await kill(victim, at: number / 2, number % 2 == 0 ? "before" : "after")
      outcomes.insert(outcome)
      if outcome == "ended" { break }
      number += 1
      // One that is whole is what the next run begins with.
      if try await victim.isGone() { victim = try await Victim("key-\(number)", file) }
    }
    #expect(try await victim.isGone())
    // Killed before the intent and after it: whole. After the provider did it: gone.
    #expect(outcomes == ["whole, no intent", "whole, intent", "gone, intent", "ended"])
    #expect(number >= 8)
  }

  /// - Returns: what the kill left.
  private func kill(_ victim: Victim, at number: Int, _ moment: String) async throws -> String {
    let before = try victim.intents()
    let outcome = try await runProcess(
      builtProducts + "/LifecycleProbe",
      [victim.file.string, "\(victim.old.id)", victim.census.string, "\(number)", moment])
    guard outcome.status != 0 else { return "ended" }
    #expect(outcome.status == SIGKILL, "\(outcome.error)")
    let intent = try victim.intents() > before ? "intent" : "no intent"
    let manager = try victim.open()
    let left = try await manager.keyVersions(of: victim.old.key)
    let isWhole = left.contains { $0.id == victim.old.id }
    if isWhole {
      #expect(left.map(\.id) == [victim.old.id, victim.new.id] && left.map(\.state) == [.deactivated, .active])
      #expect(try await manager.decryptString(victim.sealed) == "value")
    } else {
      #expect(left.map(\.id) == [victim.new.id])
      // The second run finds nothing left to do.
      await #expect(throws: KMSError(.keyNotFound, "")) {
        try await manager.destroy(
          victim.old.id, justifiedBy: .censuses([try victim.census.content]), reason: "again")
      }
    }
    let after = try await manager.encrypt("after", key: victim.old.key)
    #expect(try await manager.decryptString(after) == "after")
    await manager.close()
    return (isWhole ? "whole, " : "gone, ") + intent
  }
}

/// A key with a version that may be destroyed, and a census that says so.
private struct Victim {
  let file: FilePath
  let old: KeyVersion
  let new: KeyVersion
  let sealed: [UInt8]
  var census: FilePath { file.removingLastComponent().appending("census-\(old.key)") }

  init(_ name: String, _ file: FilePath) async throws {
    self.file = file
    let manager = try DataAtRestManager.open(SuiteConfiguration.load(file: file, environment: [:]))
    let seal = try KeyName("default")
    if try await manager.keyVersions(of: seal).isEmpty { try await manager.createKey(seal) }
    old = try await manager.createKey(KeyName(name))
    sealed = try await manager.encrypt("value", key: old.key)
    new = try await manager.rotate(old.key, reason: "test")
    let record = CensusRecord(try await manager.beginCensus(), places: [], principal: "test")
    let content = try await manager.signOff(record)
    await manager.close()
    try census.write(content)
  }

  func open() throws -> DataAtRestManager { try .open(SuiteConfiguration.load(file: file, environment: [:])) }

  func isGone() async throws -> Bool {
    let manager = try open()
    let versions = try await manager.keyVersions(of: old.key)
    await manager.close()
    return !versions.contains { $0.id == old.id }
  }

  func intents() throws -> Int {
    var intents = 0
    _ = try AccessLogReader(directory: file.removingLastComponent().appending("log")).forEach(
      matching: AccessFilter(key: "\(old.key)", operation: .setState)
    ) { record, _ in
      if record.keyVersion == "\(old.id)", record.phase == .intent, record.reason?.hasPrefix("destroyed") == true {
        intents += 1
      }
    }
    return intents
  }
}

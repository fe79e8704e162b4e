import Foundation
import InMemoryProvider
import Strongroom
import SystemPackage
import Testing

/// The manager's settings, its logs and its report.
struct ManagerTests {
  private static let yaml = "providers: { memory: { type: memory } }\n"

  @Test("switched off, every operation is an error that says so, and nothing passes through")
  func switchedOff() async throws {
    try await withFolder { folder in
      let manager = try DataAtRestManager.open(configuration(Self.yaml, in: folder))
      let (plain, sealed, other) = (folder.appending("a"), folder.appending("b"), folder.appending("c"))
      try plain.write("content")
      try await manager.createKey(try key)
      let field = try await manager.encrypt("value")
      try await manager.encryptFile(from: .path(plain), to: .path(sealed))
      try await manager.updateConfiguration(DataAtRestConfig(kmsEncryptionEnabled: false))
      let operations: [() async throws -> Void] = [
        { _ = try await manager.encrypt("value") }, { _ = try await manager.encrypt([1, 2, 3]) },
        { _ = try await manager.decrypt(field) }, { _ = try await manager.decryptString(field) },
        { _ = try await manager.rewrap(field) }, { _ = try await manager.rewrapFile(sealed) },
        { try await manager.encryptFile(from: .path(plain), to: .path(other)) },
        { try await manager.decryptFile(from: .path(sealed), to: .path(other)) },
      ]
      for operation in operations {
        let error = try await failure(operation)
        #expect(error.code == .encryptionDisabled)
        #expect(error.advice.contains("kms-encryption-enabled"))
      }
      #expect(!other.isThere)
      // On again at run time.
      try await manager.updateConfiguration(DataAtRestConfig())
      #expect(try await manager.decryptString(field) == "value")
      await manager.close()
    }
  }

  @Test("another configuration counts for every call after it, and is logged")
  func updateConfiguration() async throws {
    let recorder = Recorder()
    let manager = try DataAtRestManager(
      providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(kmsKeyID: "one"), reporter: recorder)
    for name in ["one", "two"] { try await manager.createKey(KeyName(name)) }
    func keyOfNew() async throws -> String? {
      let message = try EncryptMessage(parsing: try await manager.encrypt("v"), as: .field)
      let id = message.recipients.first?.kid
      return try await manager.keyVersions().first { $0.id == id }?.key.description
    }
    #expect(try await keyOfNew() == "one")
    try await manager.updateConfiguration(
      DataAtRestConfig(kmsKeyID: "two", keyRotationInterval: .seconds(3600)), principal: "operator")
    #expect(try await keyOfNew() == "two")
    #expect(manager.configuration.keyRotationInterval == .seconds(3600))
    let logged = recorder.events.filter { $0.operation.rawValue == "update-configuration" }
    #expect(logged.map(\.phase) == [.intent, .outcome])
    #expect(logged.allSatisfy { $0.access.principal == "operator" })
  }

  @Test("recovery recipients open what was encrypted")
  func recovery() async throws {
    let manager = try DataAtRestManager(
      providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(recoveryRecipients: ["spare"]),
      reporter: Recorder())
    let version = try await manager.createKey(try key)
    try await manager.createKey(KeyName("spare"))
    let sealed = try await manager.encrypt("value")
    #expect(try EncryptMessage(parsing: sealed, as: .field).recipients.count == 2)
    try await manager.setState(.deactivated, of: version.id, reason: "test")
    try await manager.destroy(version.id, justifiedBy: .dataLossAccepted(version.key), reason: "test")
    #expect(try await manager.decryptString(sealed) == "value")
  }

  @Test("an application's own entries and the suite's stand in the log and the report")
  func logsAndReport() async throws {
    try await withFolder { folder in
      let loaded = try configuration(Self.yaml, in: folder)
      let manager = try DataAtRestManager.open(loaded)
      try await manager.createKey(try key)
      try await manager.rotate(try key, reason: "planned")
      let time = Timestamp.now()
      try await manager.logKeyRotation(
        KeyRotationLog(
          timestamp: time, keyID: try key, reason: "by hand", success: false, errorMessage: "token was gone"))
      try await manager.logKMSAccess(
        KMSAccessLog(
          timestamp: time, keyID: try key, operation: "backup", success: true, accessedBy: "night job"))
      let report = try await manager.generateTelemetryReport()
      #expect(report.text.contains("rotations     2, 1 failed"))
      for part in ["by hand", "token was gone", "planned", "backup", "night job", "default"] {
        #expect(report.text.contains(part), "\(part)")
      }
      #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(report.json().utf8)) }

      var records: [AccessRecord] = []
      _ = try AccessLogReader(directory: loaded.accessLog.directory).forEach(matching: AccessFilter()) { record, _ in
        records.append(record)
      }
      let rotation = try #require(records.first { $0.reason == "by hand" })
      #expect(rotation.operation == .rotate && rotation.keyID == "default" && rotation.success == false)
      #expect(rotation.timestamp == time && rotation.errorMessage == "token was gone")
      let access = try #require(records.first { $0.operation.rawValue == "backup" })
      #expect(access.accessedBy == "night job" && access.success == true && access.keyID == "default")
      await manager.close()
    }
  }

  @Test("without a folder to read there is no report, and the error says so")
  func noReport() async throws {
    let manager = try DataAtRestManager(
      providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(), reporter: Recorder())
    let error = try await failure { _ = try await manager.generateTelemetryReport() }
    #expect(error.code == .notSupported)
  }

  @Test("a key is due when its version is older than the interval")
  func due() throws {
    let version = KeyVersion(
      id: .make(), key: try key, purpose: .wrap, state: .active, enforcement: .suite, provider: "m")
    #expect(!version.isDue(interval: .seconds(3600), now: .now()))
    #expect(version.isDue(interval: .seconds(3600), now: .now().advanced(by: .seconds(3601))))
  }
}

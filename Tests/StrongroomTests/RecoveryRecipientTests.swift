import InMemoryProvider
import Strongroom
import Testing

/// What the manager does with recovery keys.
struct RecoveryRecipientTests {
  private let hsm = InMemoryProvider(name: "hsm")
  private let safe = InMemoryProvider(name: "safe")
  private let recorder = Recorder()

  private func manager(_ recipients: [String]) throws -> DataAtRestManager {
    try DataAtRestManager(
      providers: [hsm, safe], newKeysIn: "hsm", configuration: DataAtRestConfig(recoveryRecipients: recipients),
      reporter: recorder)
  }

  @discardableResult
  private func importRecoveryKey(_ name: String, into provider: InMemoryProvider) async throws -> KeyVersion {
    try await provider.importKeyVersion(
      NewKeyVersion(key: KeyName(name), purpose: .recovery), material: .random(count: 32))
  }

  @Test("every envelope is wrapped to each recovery key, whatever provider holds it")
  func anyProvider() async throws {
    let one = try await importRecoveryKey("one", into: hsm)
    let two = try await importRecoveryKey("two", into: safe)
    let manager = try manager(["one", "two"])
    let current = try await manager.createKey(try key)
    let sealed = try await manager.encrypt("value")
    #expect(try EncryptMessage(parsing: sealed, as: .field).recipients.map(\.kid) == [current.id, one.id, two.id])
    #expect(try await manager.decryptString(sealed) == "value")
    // Both wraps are in the log, each with its provider.
    let wraps = recorder.events.filter { $0.operation == .wrap }
    #expect(wraps.map(\.provider) == ["hsm", "hsm", "safe"])
  }

  @Test("no recovery key, no data: an envelope that could not be recovered is not made")
  func missing() async throws {
    let manager = try manager(["offline"])
    try await manager.createKey(try key)
    #expect(try await failure { _ = try await manager.encrypt("value") }.code == .keyNotFound)
    let version = try await importRecoveryKey("offline", into: safe)
    _ = try await manager.encrypt("value")
    try await manager.setState(.deactivated, of: version.id, reason: "test")
    let error = try await failure { _ = try await manager.encrypt("value") }
    #expect(error.code == .keyStateForbids && "\(error)".contains("offline"))
  }

  @Test("what only a recovery key opens is not ours here, and says so")
  func onlyOffline() async throws {
    try await importRecoveryKey("offline", into: hsm)
    let manager = try manager(["offline"])
    let version = try await manager.createKey(try key)
    let sealed = try await manager.encrypt("value")
    try await manager.setState(.deactivated, of: version.id, reason: "test")
    try await manager.destroy(version.id, justifiedBy: .dataLossAccepted(version.key), reason: "test")
    #expect(try await failure { _ = try await manager.decrypt(sealed) }.code == .notOurs)
  }

  @Test("a recovery key is not made, rotated or used for data")
  func refused() async throws {
    try await importRecoveryKey("offline", into: hsm)
    let manager = try manager([])
    let name = try KeyName("offline")
    for operation: () async throws -> Void in [
      { _ = try await manager.createKey(KeyName("other"), purpose: .recovery) },
      { _ = try await manager.rotate(name, reason: "test") },
      { _ = try await manager.encrypt("value", key: name) },
    ] {
      #expect(try await failure(operation).code == .keyPurposeForbids)
    }
    #expect(try await manager.isRotationDue(name) == false)
    #expect(try await manager.keyVersions().map(\.key) == [name])
  }
}

import Foundation
import Strongroom
import SystemPackage
import Testing

/// No way from the manager's API to a provider goes past the access log, and nothing comes out without its event.
struct EveryCallIsLoggedTests {
  private let provider = CountingProvider()
  private let recorder = Recorder()

  private func manager(envelope: Bool = true) throws -> DataAtRestManager {
    try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(envelopeEncryptionEnabled: envelope), reporter: recorder)
  }

  /// Outcomes that are a provider's call.
  private var logged: [AccessEvent.Operation] {
    recorder.events.filter { $0.provider == "counted" && $0.phase == .outcome && !Self.data.contains($0.operation) }
      .map(\.operation)
  }
  private static let data: Set<AccessEvent.Operation> = [
    .encrypt, .decrypt, .rotate, AccessEvent.Operation(rawValue: "recovery-create"),
  ]

  @Test("the calls a provider gets are the calls that are logged, in every operation of the manager")
  func everyOperation() async throws {
    try await withFolder { folder in
      let manager = try manager()
      let (plain, sealed, opened) = (folder.appending("a"), folder.appending("b"), folder.appending("c"))
      try plain.write("content")
      let first = try await manager.createKey(try key)
      let field = try await manager.encrypt("value")
      _ = try await manager.decrypt(field)
      try await manager.encryptFile(from: .path(plain), to: .path(sealed))
      try await manager.rotate(try key, reason: "test")
      _ = try await manager.rewrap(field)
      try await manager.rewrapFile(sealed)
      try await manager.decryptFile(from: .path(sealed), to: .path(opened))
      try await manager.setState(.suspended, of: first.id, reason: "test")
      await #expect(throws: KMSError.self) { try await manager.decrypt(field) }
      _ = try await manager.isRotationDue(try key)
      _ = try await manager.keyVersions()
      _ = try await manager.health()
      try await manager.updateConfiguration(DataAtRestConfig(envelopeEncryptionEnabled: false))
      try await manager.createKey(try KeyName("direct"), purpose: .encrypt)
      let direct = try await manager.encrypt("value", key: try KeyName("direct"))
      _ = try await manager.decrypt(direct)
      let kek = SecretBytes.random(count: 32)
      try await manager.importKeyVersion(kek, of: try KeyName("imported"))
      #expect(try await manager.adoptableKeys().map(\.label) == ["somebody's"])
      let adopted = try await manager.adoptKey(try KeyVersionID([7]), as: try KeyName("adopted"))
      #expect(adopted.version.key.description == "adopted" && adopted.warnings == ["somebody made it"])
      try await manager.updateConfiguration(DataAtRestConfig(recoveryRecipients: ["offline"]))
      let recovery = try await manager.createRecoveryKey(
        KeyName("offline"), reason: "test", keep: { secret, _ in secret.copy() }, discard: {})
      try await manager.checkRecoveryKeyFails(recovery)
      _ = try await manager.encrypt("value")
      var audit = try await manager.beginRecoveryAudit()
      var source = EnvelopeFiles([sealed], replacement: nil)
      try await manager.audit(&source, in: &audit)
      #expect(audit.findings.map(\.fault) == [.missing])
      await manager.close()
      #expect(provider.calls == logged)
      #expect(
        Set(provider.calls) == [
          .listVersions, .createVersion, .importVersion, .listAdoptable, .adoptVersion, .setState, .wrap, .unwrap,
          .directEncrypt, .directDecrypt, .health, .close,
        ])
    }
  }

  @Test("with a log that takes nothing, every operation fails and no result comes out")
  func failClosed() async throws {
    try await withFolder { folder in
      let manager = try manager()
      let (plain, sealed, other) = (folder.appending("a"), folder.appending("b"), folder.appending("c"))
      try plain.write("content")
      let version = try await manager.createKey(try key)
      let field = try await manager.encrypt("value")
      try await manager.encryptFile(from: .path(plain), to: .path(sealed))
      let sealedBefore = try sealed.content
      let callsBefore = provider.calls
      recorder.refuse { _ in true }
      let operations: [(String, () async throws -> Void)] = [
        ("adoptKey", { try await manager.adoptKey(try KeyVersionID([7]), as: try KeyName("second")) }),
        ("adoptableKeys", { _ = try await manager.adoptableKeys() }),
        (
          "importKeyVersion",
          { try await manager.importKeyVersion(SecretBytes.random(count: 32), of: try KeyName("second")) }
        ),
        ("encrypt", { _ = try await manager.encrypt("value") }),
        ("decrypt", { _ = try await manager.decrypt(field) }),
        ("encryptFile", { try await manager.encryptFile(from: .path(plain), to: .path(other)) }),
        ("decryptFile", { try await manager.decryptFile(from: .path(sealed), to: .path(other)) }),
        ("rotate", { _ = try await manager.rotate(try key, reason: "test") }),
        ("createKey", { _ = try await manager.createKey(try KeyName("second")) }),
        ("setState", { _ = try await manager.setState(.deactivated, of: version.id, reason: "test") }),
        ("keyVersions", { _ = try await manager.keyVersions() }),
        ("updateConfiguration", { try await manager.updateConfiguration(DataAtRestConfig(kmsKeyID: "other")) }),
        (
          "logKeyRotation",
          { try await manager.logKeyRotation(KeyRotationLog(keyID: try key, reason: "r", success: true)) }
        ),
        (
          "logKMSAccess",
          { try await manager.logKMSAccess(KMSAccessLog(keyID: try key, operation: "backup", success: true)) }
        ),
      ]
      for (name, operation) in operations {
        let error = try await failure(operation)
        #expect(error.code == .accessLogUnavailable, "\(name): \(error)")
      }
      #expect(manager.configuration.kmsKeyID.description == "default")
      // Nothing that changes keys was even begun.
      let added = Set(provider.calls.dropFirst(callsBefore.count))
      #expect(added.isDisjoint(with: [.createVersion, .importVersion, .adoptVersion, .setState]))
      #expect(try sealed.content == sealedBefore)
      #expect(!other.isThere)

      recorder.refuse { _ in false }
      #expect(try await manager.decryptString(field) == "value")
      #expect(try await manager.keyVersions().map(\.state) == [.active])
    }
  }

  @Test("a provider call whose intent is refused is not made")
  func refusedIntent() async throws {
    let manager = try manager()
    let version = try await manager.createKey(try key)
    for (operation, change) in [
      (AccessEvent.Operation.createVersion, { _ = try await manager.createKey(try KeyName("second")) }),
      (.adoptVersion, { try await manager.adoptKey(try KeyVersionID([7]), as: try KeyName("second")) }),
      (
        .importVersion,
        { try await manager.importKeyVersion(SecretBytes.random(count: 32), of: try KeyName("second")) }
      ),
      (.createVersion, { _ = try await manager.rotate(try key, reason: "test") }),
      (.setState, { _ = try await manager.setState(.deactivated, of: version.id, reason: "test") }),
    ] as [(AccessEvent.Operation, () async throws -> Void)] {
      let before = provider.calls.count { $0 == operation }
      recorder.refuse { $0.operation == operation && $0.phase == .intent }
      #expect(try await failure(change).code == .accessLogUnavailable)
      #expect(provider.calls.count { $0 == operation } == before)
    }
    recorder.refuse { _ in false }
    #expect(try await manager.keyVersions() == [version])
  }

  @Test(
    "a call whose outcome is refused gives nothing out",
    arguments: [AccessEvent.Operation.wrap, .unwrap, .directEncrypt, .directDecrypt, .encrypt, .decrypt])
  func refusedOutcome(_ operation: AccessEvent.Operation) async throws {
    let isDirect = [.directEncrypt, .directDecrypt].contains(operation)
    let manager = try manager(envelope: !isDirect)
    try await manager.createKey(try key, purpose: isDirect ? .encrypt : .wrap)
    let sealed = try await manager.encrypt("value")
    recorder.refuse { $0.operation == operation && $0.phase == .outcome }
    let encrypts = [.wrap, .directEncrypt, .encrypt].contains(operation)
    let error = try await failure {
      _ = encrypts ? try await manager.encrypt("value") : try await manager.decrypt(sealed)
    }
    #expect(error.code == .accessLogUnavailable)
  }

  @Test("events say who, which key and which names of the context; never a value")
  func content() async throws {
    let manager = try manager()
    try await manager.createKey(try key)
    let context = try EncryptionContext([(name: "row", value: "value-of-the-context")])
    let sealed = try await withPrincipal("billing") {
      try await manager.encrypt("value-of-the-field", context: context)
    }
    _ = try await manager.decrypt(sealed, context: context, principal: "support")
    let encrypted = try #require(recorder.events.last { $0.operation == .encrypt })
    let decrypted = try #require(recorder.events.last { $0.operation == .decrypt })
    #expect(encrypted.access.principal == "billing" && decrypted.access.principal == "support")
    let used = try key
    #expect(encrypted.key == used && decrypted.key == used)
    #expect(encrypted.access.contextNames == ["row"])
    #expect(!recorder.events.contains { "\($0)".contains("value-of-the") })
  }
}

extension DataAtRestManager {
  /// A check with something that is no copy of the key.
  fileprivate func checkRecoveryKeyFails(_ version: KeyVersion) async throws {
    let other = SecretBytes.random(count: 32)
    let error = try await failure { try await checkRecoveryKey(version, copy: other) }
    #expect(error.code == .doesNotOpen)
  }
}

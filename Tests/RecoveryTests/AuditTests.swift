import Foundation
import InMemoryProvider
import PublicKeyProvider
import Strongroom
import SystemPackage
import TestSupport
import Testing

/// The audit finds every envelope that a recovery key would not open.
struct AuditTests {
  private let folder = TemporaryFolder()
  private let hsm = InMemoryProvider(name: "hsm")

  private func manager(_ recipients: [String], _ more: [any KMSProvider] = []) throws -> DataAtRestManager {
    try DataAtRestManager(
      providers: [hsm] + more, newKeysIn: "hsm", configuration: DataAtRestConfig(recoveryRecipients: recipients),
      reporter: Recorder())
  }

  private func importRecoveryKey(_ name: String) async throws -> KeyVersion {
    try await hsm.importKeyVersion(
      NewKeyVersion(key: KeyName(name), purpose: .recovery), material: .random(count: 32))
  }

  private func audit(_ manager: DataAtRestManager) async throws -> RecoveryAudit {
    var audit = try await manager.beginRecoveryAudit()
    var source = EnvelopeFiles([FilePath(folder.path)], replacement: nil)
    try await manager.audit(&source, in: &audit)
    return audit
  }

  @Test("missing, of an earlier version, wrong, verified, present")
  func faults() async throws {
    try await folder.run("openssl genrsa 2048 2>/dev/null | openssl pkey -pubout -out ../\(pem)")
    defer { try? FileManager.default.removeItem(atPath: folder.path + "/../" + pem) }
    let board = PublicKeyProvider(name: "board", key: try KeyName("board"), pem: folder.path + "/../" + pem)
    let first = try await importRecoveryKey("offline")
    let plain = try manager([], [board])
    try await plain.createKey(KeyName("default"))
    try folder.write(try await plain.encrypt("value"), to: "none")
    let before = try manager(["offline", "board"], [board])
    try folder.write(try await before.encrypt("value"), to: "earlier")
    _ = try await hsm.setState(.deactivated, of: first.id)
    _ = try await importRecoveryKey("offline")

    let now = try manager(["offline", "board"], [board])
    let good = try await now.encrypt("value")
    let other = try EncryptMessage(parsing: try await now.encrypt("value"), as: .field)
    try folder.write(good, to: "good")
    // Another envelope's recipients: well formed, of the right keys, and useless.
    let message = try EncryptMessage(parsing: good, as: .field)
    for (index, name) in [(1, "wrong-aes"), (2, "wrong-rsa")] {
      var recipients = message.recipients
      recipients[index] = other.recipients[index]
      try folder.write(try message.replacing(recipients: recipients).encoded(), to: name)
    }
    try folder.write(try await now.encryptAsFile(folder), to: "file")
    try folder.write(Array("no envelope".utf8), to: "text")
    try folder.write(Array(good.dropLast()), to: "cut")

    let audit = try await audit(now)
    let found = audit.findings.map { "\(FilePath($0.name).lastComponent?.string ?? "") \($0.key) \($0.fault.rawValue)" }
    // That of a public key cannot be compared, and the audit says so by counting it as present only.
    #expect(
      found.sorted() == [
        "earlier offline earlier-version", "none board missing", "none offline missing", "wrong-aes offline wrong",
      ])
    #expect(audit.envelopes == 6 && audit.verified == 3 && audit.presentOnly == 5)
    #expect(audit.failures.map(\.error.code) == [.malformedEnvelope])

    // A rewrap mends all but the wrong one.
    var source = EnvelopeFiles([FilePath(folder.path)])
    _ = try await now.rewrap(&source)
    let after = try await self.audit(now)
    #expect(after.findings.map(\.fault) == [.wrong] && after.findings.first?.name.hasSuffix("wrong-aes") == true)
    await now.close()
  }

  private var pem: String { "public-\(FilePath(folder.path).lastComponent?.string ?? "").pem" }

  @Test("keys that do not wrap, or none: there is no audit")
  func noKeys() async throws {
    let none = try manager([])
    #expect(try await failure { _ = try await none.beginRecoveryAudit() }.code == .configurationInvalid)
    let gone = try manager(["offline"])
    #expect(try await failure { _ = try await gone.beginRecoveryAudit() }.code == .keyNotFound)
  }

  @Test("what is not ours is a failure, not a pass")
  func notOurs() async throws {
    let recovery = try await importRecoveryKey("offline")
    let cek = SecretBytes.random(count: 32)
    let recipient = Recipient(kid: .make(), wrapped: try await hsm.wrap(cek, under: recovery.id, aad: [1]))
    let plaintext: [UInt8] = [1]
    let message = try EncryptMessage.seal(
      plaintext.span, as: .field, context: .empty, cek: cek,
      recipients: [recipient, Recipient(kid: recovery.id, wrapped: recipient.wrapped)])
    try folder.write(message.encoded(), to: "foreign")
    let audit = try await audit(try manager(["offline"]))
    #expect(audit.failures.map(\.error.code) == [.notOurs] && audit.verified == 0 && audit.envelopes == 0)
  }
}

extension DataAtRestManager {
  fileprivate func encryptAsFile(_ folder: TemporaryFolder) async throws -> [UInt8] {
    let (plain, sealed) = (folder.path + ".plain", folder.path + ".sealed")
    defer { for path in [plain, sealed] { try? FileManager.default.removeItem(atPath: path) } }
    try Data([1, 2, 3]).write(to: URL(fileURLWithPath: plain))
    try await encryptFile(from: .path(FilePath(plain)), to: .path(FilePath(sealed)))
    return Array(try Data(contentsOf: URL(fileURLWithPath: sealed)))
  }
}

import Foundation
import InMemoryProvider
import RecoveryShares
import Strongroom
import SystemPackage
import TestSupport
import Testing

/// Making a recovery key: what is left when a step fails.
struct CreateTests {
  private let folder = TemporaryFolder()
  private let recorder = Recorder()
  private let base = InMemoryProvider(name: "hsm")

  private func manager(_ provider: any KMSProvider) throws -> DataAtRestManager {
    try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(recoveryRecipients: ["offline"]), reporter: recorder)
  }

  private var kit: RecoveryKit {
    get throws { try RecoveryKit(folder: FilePath(folder.path + "/kit"), key: try KeyName("offline")) }
  }

  private var files: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder.path + "/kit")) ?? []).sorted()
  }

  private func create(_ manager: DataAtRestManager) async throws -> KeyVersion {
    let kit = try kit
    var note: RecoveryNote?
    return try await manager.createRecoveryKey(
      kit.key, reason: "2 of 3 shares",
      keep: { secret, planned in
        let new = try RecoveryNote(version: planned.id, provider: planned.provider, shares: 3, threshold: 2)
        note = new
        return try kit.write(secret, new)
      }, discard: { if let note { try kit.discard(note) } })
  }

  @Test("shares and provider hold one key; it is logged, intent first")
  func made() async throws {
    let manager = try manager(base)
    let version = try await create(manager)
    #expect(version.purpose == .recovery && version.key.description == "offline")
    #expect(files == ["offline.001", "offline.002", "offline.003", "offline.txt"])
    let note = try #require(try kit.note())
    #expect(note.version == version.id && note.provider == "hsm" && !note.isReady)
    try await manager.checkRecoveryKey(version, copy: kit.readBack(note))
    let wrong = SecretBytes.random(count: 32)
    #expect(
      try await failure { try await manager.checkRecoveryKey(version, copy: wrong) }.code == .doesNotOpen)
    let steps = recorder.events.filter {
      ["recovery-create", "import-version"].contains($0.operation.rawValue) && $0.version != nil || $0.phase == .intent
    }
    #expect(
      steps.map { "\($0.operation) \($0.phase)" } == [
        "recovery-create intent", "import-version intent", "import-version outcome", "recovery-create outcome",
      ])
    #expect(steps.last?.reason == "2 of 3 shares" && steps.last?.version == version.id)
    // Given out once.
    #expect(try await failure { _ = try await create(manager) }.code == .duplicateKeyVersion)
  }

  @Test("a provider that takes no keys: no shares are left")
  func notImporting() async throws {
    let manager = try manager(Wrapper(base, importing: .refuses))
    #expect(try await failure { _ = try await create(manager) }.code == .notSupported)
    #expect(!FileManager.default.fileExists(atPath: folder.path + "/kit"))
    #expect(try await base.keyVersions(of: nil).isEmpty)
  }

  @Test("a provider that keeps another key than it was given: key and shares are gone")
  func lying() async throws {
    let manager = try manager(Wrapper(base, importing: .lies))
    #expect(try await failure { _ = try await create(manager) }.code == .tokenNotTrustworthy)
    #expect(files.isEmpty)
    #expect(try await base.keyVersions(of: nil).isEmpty)
  }

  @Test("the answer is lost on the way: the key is taken back, and its shares")
  func lostAnswer() async throws {
    let manager = try manager(Wrapper(base, importing: .losesAnswer))
    #expect(try await failure { _ = try await create(manager) }.code == .providerUnavailable)
    #expect(files.isEmpty)
    #expect(try await base.keyVersions(of: nil).isEmpty)
  }

  @Test("the log goes away when the key is there: the shares stay, and the error says what to do")
  func logGone() async throws {
    let recorder = recorder
    let manager = try manager(Wrapper(base, importing: .works { recorder.refuseAll() }))
    let error = try await failure { _ = try await create(manager) }
    #expect(error.code == .accessLogUnavailable && error.advice.contains("Run the same again"), "\(error)")
    let note = try #require(try kit.note())
    #expect(try await base.keyVersions(of: nil).map(\.id) == [note.version])
    #expect(files.count == 4)
  }

  @Test("no log, no key")
  func noLog() async throws {
    recorder.refuseAll()
    let manager = try manager(base)
    #expect(try await failure { _ = try await create(manager) }.code == .accessLogUnavailable)
    #expect(files.isEmpty)
    #expect(try await base.keyVersions(of: nil).isEmpty)
  }

  @Test("copies that cannot be kept: nothing is imported")
  func noDisk() async throws {
    try await folder.run("touch kit")
    let manager = try manager(base)
    await #expect(throws: KMSError.self) { _ = try await create(manager) }
    #expect(try await base.keyVersions(of: nil).isEmpty)
  }

  @Test("after a deactivation the same name may have a next version")
  func next() async throws {
    let manager = try manager(base)
    let first = try await create(manager)
    try await manager.setState(.deactivated, of: first.id, reason: "test")
    try await folder.run("rm -r kit")
    let second = try await create(manager)
    #expect(second.id > first.id && second.key == first.key)
  }
}

/// A provider whose import goes wrong in a way that no real one here does on request.
private final class Wrapper: KMSProvider, KeyImporting {
  enum Import: Sendable {
    case works(_ then: @Sendable () -> Void)
    case refuses, lies, losesAnswer
  }

  let identity: ProviderIdentity
  private let base: InMemoryProvider
  private let importing: Import

  init(_ base: InMemoryProvider, importing: Import) {
    identity = base.identity
    self.base = base
    self.importing = importing
  }

  func importKeyVersion(_ request: NewKeyVersion, material: borrowing SecretBytes) async throws -> KeyVersion {
    switch importing {
    case .refuses: throw KMSError(.notSupported, "the token takes no keys", advice: "Use another token.")
    case .lies: return try await base.importKeyVersion(request, material: .random(count: 32))
    case .works(let then):
      let version = try await base.importKeyVersion(request, material: material)
      then()
      return version
    case .losesAnswer:
      _ = try await base.importKeyVersion(request, material: material)
      throw KMSError(.providerUnavailable, "the connection was lost", advice: "Try again.")
    }
  }

  func keyVersions(of name: KeyName?) async throws -> [KeyVersion] { try await base.keyVersions(of: name) }
  func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try await base.createKeyVersion(request)
  }
  func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    try await base.setState(state, of: id)
  }
  func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    try await base.wrap(key, under: id, aad: aad)
  }
  func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try await base.unwrap(wrapped, under: id, aad: aad)
  }
  func health() async -> ProviderHealth { await base.health() }
  func close() async { await base.close() }
}

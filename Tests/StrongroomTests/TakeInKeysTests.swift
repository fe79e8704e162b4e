import InMemoryProvider
import Strongroom
import Testing

/// Keys that were made elsewhere, as the manager takes them in.
struct TakeInKeysTests {
  private func manager() throws -> DataAtRestManager {
    try DataAtRestManager(
      providers: [CountingProvider()], configuration: DataAtRestConfig(), reporter: Recorder())
  }

  @Test("an imported key becomes the current version, unless its id is older")
  func imported() async throws {
    let manager = try manager()
    let first = try await manager.createKey(try key)
    let kek = SecretBytes.random(count: 32)
    let old = try await manager.importKeyVersion(
      kek, of: try key, id: .make(now: Timestamp(milliseconds: 1_700_000_000_000)))
    #expect(try await manager.keyVersions(of: try key) == [old, first])
    let sealed = try await manager.encrypt("value")
    #expect(try kid(of: sealed) == first.id)
    let new = try await manager.importKeyVersion(kek, of: try key)
    #expect(new.id > first.id)
    #expect(try kid(of: try await manager.encrypt("value")) == new.id)
    #expect(try await manager.decryptString(sealed) == "value")
  }

  @Test("an adopted key is a version like others: older than all, due at once, replaced by a rotation")
  func adopted() async throws {
    let manager = try manager()
    let adopted = try await manager.adoptKey(try KeyVersionID([0xFF]), as: try key).version
    let sealed = try await manager.encrypt("value")
    #expect(try kid(of: sealed) == adopted.id)
    #expect(try await manager.isRotationDue(try key))
    let new = try await manager.rotate(try key, reason: "test")
    #expect(try await manager.keyVersions(of: try key).map(\.id) == [adopted.id, new.id])
    #expect(try await !manager.isRotationDue(try key))
    let moved = try #require(try await manager.rewrap(sealed))
    #expect(try kid(of: moved) == new.id)
    try await manager.destroy(adopted.id, justifiedBy: .dataLossAccepted(try key), reason: "test")
    #expect(try await manager.decryptString(moved) == "value")
  }

  @Test("a key keeps its purpose, whoever made its versions")
  func purposes() async throws {
    let manager = try manager()
    try await manager.createKey(try key)
    let kek = SecretBytes.random(count: 32)
    var refusal = try await failure { try await manager.importKeyVersion(kek, of: try key, purpose: .encrypt) }
    #expect(refusal.code == .keyPurposeForbids)
    refusal = try await failure {
      try await manager.adoptKey(try KeyVersionID([7]), as: try key, purpose: .encrypt)
    }
    #expect(refusal.code == .keyPurposeForbids)
    #expect(try await manager.keyVersions().count == 1)
  }

  @Test("a provider that holds no keys but ours says that it adopts none")
  func notSupported() async throws {
    let manager = try DataAtRestManager(
      providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(), reporter: Recorder())
    #expect(try await failure { _ = try await manager.adoptableKeys() }.code == .notSupported)
  }

  private func kid(of message: [UInt8]) throws -> KeyVersionID? {
    try EncryptMessage(parsing: message, as: .field).recipients.first?.kid
  }
}

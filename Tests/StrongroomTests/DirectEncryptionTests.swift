import InMemoryProvider
import Strongroom
import SystemPackage
import Testing

/// `envelope-encryption-enabled: false`: the provider encrypts, under a key whose purpose is encrypt.
struct DirectEncryptionTests {
  private func manager() async throws -> DataAtRestManager {
    let manager = try DataAtRestManager(
      providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(envelopeEncryptionEnabled: false),
      reporter: Recorder())
    try await manager.createKey(try key, purpose: .encrypt)
    return manager
  }

  @Test("round trip up to 64 KiB", arguments: [0, 1, 65_535, 65_536])
  func roundTrip(_ count: Int) async throws {
    let manager = try await manager()
    let context = try EncryptionContext([(name: "row", value: "7")])
    let plaintext = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let sealed = try await manager.encrypt(plaintext, context: context)
    #expect(EnvelopeKind.detect(sealed) == .encrypt0)
    #expect(try await manager.decrypt(sealed, context: context) == plaintext)
    await #expect(throws: KMSError(.doesNotOpen, "")) { try await manager.decrypt(sealed) }
    try await manager.rotate(try key, reason: "test")
    #expect(try await manager.decrypt(sealed, context: context) == plaintext)
  }

  @Test("a byte more is refused, in bytes and in files")
  func tooLong() async throws {
    try await withFolder { folder in
      let manager = try await manager()
      let (input, output) = (folder.appending("a"), folder.appending("b"))
      try input.write(String(repeating: "x", count: 65_537))
      await #expect(throws: KMSError(.limitExceeded, "")) {
        try await manager.encrypt([UInt8](repeating: 0, count: 65_537))
      }
      await #expect(throws: KMSError(.limitExceeded, "")) {
        try await manager.encryptFile(from: .path(input), to: .path(output))
      }
      #expect(!output.isThere)
    }
  }

  @Test("keys have one purpose")
  func purposes() async throws {
    let manager = try await manager()
    try await manager.createKey(KeyName("wrapping"))
    await #expect(throws: KMSError.self) { try await manager.encrypt("value", key: try KeyName("wrapping")) }
    let direct = try await manager.encrypt("value")
    try await manager.updateConfiguration(DataAtRestConfig())
    await #expect(throws: KMSError.self) { try await manager.encrypt("value") }
    // What was encrypted before opens whatever the setting says now.
    #expect(try await manager.decryptString(direct) == "value")
  }
}

import InMemoryProvider
import KMSTesting
import Strongroom
import Testing

/// New data goes under the keys of the configured provider, also when that one cannot be reached.
struct FallbackTests {
  @Test("a provider that is out of reach is not replaced by another one's key")
  func outOfReach() async throws {
    let hsm = FaultInjectingProvider(InMemoryProvider(name: "hsm"))
    let old = InMemoryProvider(name: "old")
    let key = try KeyName("k")
    _ = try await old.createKeyVersion(NewKeyVersion(key: key))
    func manager() throws -> DataAtRestManager {
      try DataAtRestManager(
        providers: [hsm, old], newKeysIn: "hsm", configuration: DataAtRestConfig(kmsKeyID: "k"),
        reporter: RecordingReporter())
    }
    let before = try manager()
    // The key is in the old provider only: it opens what it holds, and wraps nothing new.
    await #expect(throws: KMSError(.keyStateForbids, "")) { _ = try await before.encrypt("x") }
    try await before.rotate(key, reason: "moving")
    let sealed = try await before.encrypt("x")

    hsm.fail(.listVersions, with: KMSError(.providerUnavailable, "unplugged"))
    let after = try manager()
    await #expect(throws: KMSError(.providerUnavailable, "")) { _ = try await after.encrypt("y") }
    await #expect(throws: KMSError(.providerUnavailable, "")) { _ = try await after.decrypt(sealed) }
    hsm.fail(.listVersions, with: nil)
    #expect(try await after.decryptString(sealed) == "x")
  }
}

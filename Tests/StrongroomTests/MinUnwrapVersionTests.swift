import InMemoryProvider
import KMSTesting
import Strongroom
import TestSupport
import Testing

/// `min-unwrap-version`: what is older opens nothing, and the error names the setting.
struct MinUnwrapVersionTests {
  private func id(_ millisecond: Int64) -> KeyVersionID { .make(now: Timestamp(milliseconds: millisecond)) }

  @Test("ids: the order decides; adopted ones come before all")
  func ids() throws {
    let oldest = id(2000)
    let limit = try #require(OldestVersion(oldest.description))
    #expect(limit == .version(oldest))
    #expect(limit.forbids(id(1999)))
    #expect(!limit.forbids(oldest) && !limit.forbids(id(2001)))
    #expect(limit.forbids(try KeyVersionID([0xFF])))
    let adopted = try #require(OldestVersion("05"))
    #expect(adopted.forbids(try KeyVersionID([4])))
    #expect(!adopted.forbids(try KeyVersionID([5])))
    #expect(!adopted.forbids(id(0)))
  }

  @Test("times: the id's time decides; nobody knows an adopted key's")
  func times() throws {
    let limit = try #require(OldestVersion("1970-01-01T00:00:02Z"))
    #expect(limit == .made(Timestamp(seconds: 2)))
    #expect(limit.forbids(id(1999)) && !limit.forbids(id(2000)))
    #expect(limit.forbids(try KeyVersionID([0xFF])))
    let midnight = try #require(Timestamp(rfc3339: "2026-11-24T00:00:00Z"))
    #expect(OldestVersion("2026-11-24") == .made(midnight))
    for text in ["", "yesterday", "2026-13-01", "2026-11-24T08:00:00", "abc"] { #expect(OldestVersion(text) == nil) }
  }

  @Test("decryption, in bytes and directly, and rewrap refuse what is older", arguments: [true, false])
  func refusal(_ envelopes: Bool) async throws {
    let manager = try DataAtRestManager(
      providers: [InMemoryProvider(name: "m")],
      configuration: DataAtRestConfig(envelopeEncryptionEnabled: envelopes), reporter: Recorder())
    let old = try await manager.createKey(try key, purpose: envelopes ? .wrap : .encrypt)
    let sealed = try await manager.encrypt("value")
    let new = try await manager.rotate(try key, reason: "test")
    let later = try await manager.encrypt("later")
    try await manager.updateConfiguration(
      DataAtRestConfig(envelopeEncryptionEnabled: envelopes, minUnwrapVersion: new.id.description))
    #expect(try await manager.decryptString(later) == "later")
    var refusals = [try await failure { _ = try await manager.decrypt(sealed) }]
    if envelopes { refusals.append(try await failure { _ = try await manager.rewrap(sealed) }) }
    for refusal in refusals {
      #expect(refusal.code == .keyStateForbids)
      #expect(refusal.message.contains("data-at-rest.min-unwrap-version (\(new.id))"))
      #expect(refusal.message.contains(old.id.description))
    }
    try await manager.updateConfiguration(
      DataAtRestConfig(envelopeEncryptionEnabled: envelopes, minUnwrapVersion: old.id.description))
    #expect(try await manager.decryptString(sealed) == "value")
  }

  @Test(
    "a rewrap inside the token is refused as well; through a recipient that is not too old it goes on",
    .enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
  func inTheToken() async throws {
    let manager = try DataAtRestManager(
      providers: [try SoftHSM.makeToken().provider()], configuration: DataAtRestConfig(recoveryRecipients: ["spare"]),
      reporter: Recorder())
    let old = try await manager.createKey(try key)
    let spare = try await manager.createKey(try KeyName("spare"))
    let both = try await manager.encrypt("both")
    try await manager.updateConfiguration(DataAtRestConfig())
    let alone = try await manager.encrypt("alone")
    let new = try await manager.rotate(try key, reason: "test")
    // The key's old version is older than the limit, the spare key is not.
    #expect(old.id < spare.id && spare.id < new.id)
    try await manager.updateConfiguration(
      DataAtRestConfig(recoveryRecipients: ["spare"], minUnwrapVersion: spare.id.description))
    let refusal = try await failure { _ = try await manager.rewrap(alone) }
    #expect(refusal.code == .keyStateForbids && refusal.message.contains("min-unwrap-version"))
    let moved = try #require(try await manager.rewrap(both))
    #expect(try EncryptMessage(parsing: moved, as: .field).recipients.map(\.kid) == [new.id, spare.id])
    #expect(try await manager.decryptString(moved) == "both")
    await manager.close()
  }

  @Test("a recovery key may be as old as it likes: nothing is unwrapped under it here")
  func recovery() async throws {
    let provider = InMemoryProvider(name: "m")
    let manager = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(), reporter: Recorder())
    let kek = SecretBytes.random(count: 32)
    let offline = try await manager.importKeyVersion(kek, of: try KeyName("offline"), purpose: .recovery, id: id(1000))
    try await manager.createKey(try key)
    let sealed = try await manager.encrypt("value")
    let new = try await manager.rotate(try key, reason: "test")
    try await manager.updateConfiguration(
      DataAtRestConfig(recoveryRecipients: ["offline"], minUnwrapVersion: "1970-01-01T00:00:02Z"))
    let moved = try #require(try await manager.rewrap(sealed))
    for message in [moved, try await manager.encrypt("value")] {
      #expect(try EncryptMessage(parsing: message, as: .field).recipients.map(\.kid) == [new.id, offline.id])
    }
  }

  @Test("nothing is encrypted that would not open again", arguments: [true, false])
  func encryption(_ envelopes: Bool) async throws {
    let manager = try DataAtRestManager(
      providers: [InMemoryProvider(name: "m")],
      configuration: DataAtRestConfig(envelopeEncryptionEnabled: envelopes, minUnwrapVersion: "2261-01-01"),
      reporter: Recorder())
    try await manager.createKey(try key, purpose: envelopes ? .wrap : .encrypt)
    let refusal = try await failure { _ = try await manager.encrypt("value") }
    #expect(refusal.code == .keyStateForbids)
    #expect(refusal.message.contains("min-unwrap-version") && refusal.advice.contains("key rotate default"))
  }
}

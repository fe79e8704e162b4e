import Foundation
import InMemoryProvider
import Strongroom
import SystemPackage
import Testing

/// What a census counts, and what a version may be destroyed for.
struct CensusTests {
  private let provider = InMemoryProvider(name: "m")
  private let recorder = Recorder()

  private func manager(_ config: DataAtRestConfig? = nil) throws -> DataAtRestManager {
    try DataAtRestManager(providers: [provider], configuration: config ?? DataAtRestConfig(), reporter: recorder)
  }

  private func census(_ manager: DataAtRestManager, _ envelopes: [[UInt8]]) async throws -> Census {
    var census = try await manager.beginCensus()
    var source = ArraySource(ArraySource.Store(envelopes))
    source.batchCount = 3
    try await manager.count(&source, in: &census)
    return census
  }

  private func signedOff(_ manager: DataAtRestManager, _ envelopes: [[UInt8]]) async throws -> [UInt8] {
    let census = try await census(manager, envelopes)
    return try await manager.signOff(CensusRecord(census, places: ["/data"], principal: "operator"))
  }

  @Test("every kind of message, by the version that it needs; nothing is opened")
  func counts() async throws {
    let manager = try manager()
    let first = try await manager.createKey(try key)
    var envelopes = [try await manager.encrypt("1"), try await manager.encrypt("2"), try await manager.encrypt("3")]
    let second = try await manager.rotate(try key, reason: "test")
    let offline = try await provider.importKeyVersion(
      NewKeyVersion(key: KeyName("offline"), purpose: .recovery), material: .random(count: 32))
    try await manager.updateConfiguration(DataAtRestConfig(recoveryRecipients: ["offline"]))
    envelopes += [try await manager.encrypt("4"), try await manager.encrypt("5")]
    let direct = try await manager.createKey(KeyName("direct"), purpose: .encrypt)
    try await manager.updateConfiguration(DataAtRestConfig(kmsKeyID: "direct", envelopeEncryptionEnabled: false))
    let message = try await manager.encrypt("6")
    let shared = try Encrypt0Message(
      keyID: KeyVersionID.make().bytes, iv: [UInt8](repeating: 0, count: 12),
      ciphertext: [UInt8](repeating: 0, count: 20))
    let elsewhere = try DataAtRestManager(
      providers: [InMemoryProvider(name: "x")], configuration: DataAtRestConfig(), reporter: recorder)
    let foreign = try await elsewhere.createKey(try key)
    envelopes += [message, shared.encoded(), try await elsewhere.encrypt("7"), Array("no envelope".utf8), []]

    let before = recorder.events.count
    let census = try await census(manager, envelopes)
    #expect(
      census.envelopesByVersion == [first.id: 3, second.id: 2, offline.id: 2, direct.id: 1, foreign.id: 1])
    #expect(census.envelopes == 7 && census.underSharedKeys == 1)
    #expect(census.foreign == [foreign.id])
    #expect(census.failures.map(\.name) == ["8", "9"])
    #expect(Set(census.versions.map(\.id)) == Set([first, second, offline, direct].map(\.id)))
    #expect(Set(recorder.events[before...].map(\.operation)) == [.listVersions])

    let record = CensusRecord(census, places: ["/data"], principal: "operator")
    #expect(record.envelopes == 7 && record.unreadable == 2 && record.places == ["/data"])
    #expect(record.versions.map(\.envelopes).sorted() == [1, 2, 2, 3])
  }

  @Test("a version that nothing needs any more is destroyed; intent and outcome are logged")
  func destroy() async throws {
    let manager = try manager()
    let old = try await manager.createKey(try key)
    let store = ArraySource.Store([try await manager.encrypt("1"), try await manager.encrypt("2")])
    try await manager.rotate(try key, reason: "test")

    let early = try await signedOff(manager, store.envelopes)
    let refusal = try await failure {
      _ = try await manager.destroy(old.id, justifiedBy: .censuses([early]), reason: "test")
    }
    #expect(refusal.code == .invalidInput && "\(refusal)".contains("2 envelopes"))

    var source = ArraySource(store)
    #expect(try await manager.rewrap(&source).counts == [2, 0, 0])
    let content = try await signedOff(manager, store.envelopes)
    #expect(try await manager.readCensus(content).principal == "operator")
    let before = recorder.events.count
    let destroyed = try await manager.destroy(
      old.id, justifiedBy: .censuses([content]), reason: "decommissioned", principal: "operator")
    #expect(destroyed.state == .destroyed)
    let events = recorder.events[before...].filter { $0.operation == .setState }
    #expect(events.map(\.phase) == [.intent, .outcome])
    for event in events {
      #expect(event.version == old.id && event.key == old.key && event.access.principal == "operator")
      #expect(event.reason?.contains("decommissioned") == true && event.reason?.contains("by operator") == true)
    }
    for envelope in store.envelopes { _ = try await manager.decrypt(envelope) }
  }

  @Test("a census that does not hold destroys nothing")
  func refusals() async throws {
    let manager = try manager()
    let old = try await manager.createKey(try key)
    let whileActive = try await signedOff(manager, [])
    try await manager.rotate(try key, reason: "test")
    let unreadable = try await signedOff(manager, [[1, 2, 3]])
    let good = try await signedOff(manager, [])
    let other = try await manager.createKey(KeyName("other"))
    try await manager.setState(.deactivated, of: other.id, reason: "test")

    var changed = good
    let at = try #require(String(decoding: good, as: UTF8.self).range(of: "\"unreadable\":0"))
    let offset = String(decoding: good, as: UTF8.self)[..<at.lowerBound].utf8.count
    changed[offset + 13] = UInt8(ascii: "1")
    let lines = good.split(separator: 0x0A)
    let swapped = Array(unreadable.split(separator: 0x0A)[0] + [0x0A] + lines[1] + [0x0A])
    // One for each place, and all of them must hold.
    for contents in [[good, unreadable], [unreadable, good], []] {
      #expect(
        try await failure {
          _ = try await manager.destroy(old.id, justifiedBy: .censuses(contents), reason: "test")
        }.code == .invalidInput)
    }
    let cases: [(KeyVersion, [UInt8], KMSError.Code, String)] = [
      (old, whileActive, .invalidInput, "while version \(old.id) was active"),
      (old, unreadable, .invalidInput, "could not read 1"),
      (other, good, .invalidInput, "says nothing of version \(other.id)"),
      (old, changed, .doesNotOpen, "was changed"),
      (old, swapped, .doesNotOpen, "was changed"),
      (old, Array(lines[0]), .invalidInput, "not a signed-off one"),
      (old, Array("text".utf8), .invalidInput, "not a signed-off one"),
      (old, [], .invalidInput, "not a signed-off one"),
    ]
    for (version, content, code, part) in cases {
      let error = try await failure {
        _ = try await manager.destroy(version.id, justifiedBy: .censuses([content]), reason: "test")
      }
      #expect(error.code == code && "\(error)".contains(part), "\(error)")
    }
    let wrongName = try await failure {
      _ = try await manager.destroy(old.id, justifiedBy: .dataLossAccepted(other.key), reason: "test")
    }
    #expect(wrongName.code == .invalidInput)
    // An active version is not destroyed whatever is said.
    let current = try #require(try await manager.keyVersions(of: try key).last)
    #expect(
      try await failure {
        _ = try await manager.destroy(current.id, justifiedBy: .dataLossAccepted(current.key), reason: "test")
      }.code == .illegalStateTransition)
    #expect(try await manager.keyVersions(of: try key).map(\.state) == [.deactivated, .active])
    #expect(try await manager.keyVersions(of: other.key).map(\.state) == [.deactivated])
    // The good one holds.
    try await manager.destroy(old.id, justifiedBy: .censuses([good, good]), reason: "test")
  }

  @Test("somebody else's census, sealed with another key, does not hold")
  func otherSeal() async throws {
    let manager = try manager()
    let old = try await manager.createKey(try key)
    try await manager.rotate(try key, reason: "test")
    let elsewhere = try DataAtRestManager(
      providers: [InMemoryProvider(name: "x")], configuration: DataAtRestConfig(), reporter: recorder)
    try await elsewhere.createKey(try key)
    let record = CensusRecord(try await census(manager, []), places: [], principal: "operator")
    let content = try await elsewhere.signOff(record)
    let error = try await failure {
      _ = try await manager.destroy(old.id, justifiedBy: .censuses([content]), reason: "test")
    }
    #expect(error.code == .notOurs)
    #expect(try await manager.keyVersions().count == 2)
  }

  @Test("a version that was active again after the census is kept")
  func activeAgain() async throws {
    try await withFolder { folder in
      let manager = try DataAtRestManager.open(configuration("providers: { m: { type: memory } }\n", in: folder))
      let old = try await manager.createKey(try key)
      try await manager.rotate(try key, reason: "test")
      // Before the census that is no matter.
      try await manager.setState(.active, of: old.id, reason: "test")
      try await manager.setState(.deactivated, of: old.id, reason: "test")
      let content = try await signedOff(manager, [])
      try await manager.setState(.active, of: old.id, reason: "test")
      let sealed = try await manager.encrypt("in between")
      try await manager.setState(.deactivated, of: old.id, reason: "test")
      let error = try await failure {
        _ = try await manager.destroy(old.id, justifiedBy: .censuses([content]), reason: "test")
      }
      #expect(error.code == .invalidInput && "\(error)".contains("active again"))
      #expect(try await manager.decryptString(sealed) == "in between")
      try await manager.destroy(old.id, justifiedBy: .censuses([try await signedOff(manager, [])]), reason: "test")
      await manager.close()
    }
  }
}

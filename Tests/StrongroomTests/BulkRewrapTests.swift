import InMemoryProvider
import KMSTesting
import Strongroom
import Testing

/// The bulk engine, over an application's own store.
struct BulkRewrapTests {
  private let recorder = Recorder()

  private func manager(
    _ provider: any KMSProvider = InMemoryProvider(name: "m"), recovery: [String] = []
  ) async throws -> DataAtRestManager {
    let manager = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(recoveryRecipients: recovery), reporter: recorder)
    try await manager.createKey(try key)
    return manager
  }

  private func fields(_ count: Int, _ manager: DataAtRestManager) async throws -> [[UInt8]] {
    var fields: [[UInt8]] = []
    for number in 0..<count { fields.append(try await manager.encrypt(Array("value \(number)".utf8))) }
    return fields
  }

  /// The envelopes with four damaged ones among them.
  private func damaged(_ fields: [[UInt8]]) async throws -> (fields: [[UInt8]], codes: [String: KMSError.Code]) {
    var fields = fields
    fields[7].removeLast(30)
    let message = try EncryptMessage(parsing: fields[50], as: .field)
    let wrapped = message.recipients[0].wrapped
    let flipped = WrappedKey(
      algorithm: wrapped.algorithm, iv: wrapped.iv, bytes: wrapped.bytes.dropLast() + [wrapped.bytes[39] ^ 1])
    fields[50] =
      try message.replacing(recipients: [Recipient(kid: message.recipients[0].kid, wrapped: flipped)]).encoded()
    fields[99] = Array("no envelope".utf8)
    fields[100] = try await manager().encrypt("under somebody else's key")
    return (fields, ["7": .malformedEnvelope, "50": .doesNotOpen, "99": .malformedEnvelope, "100": .notOurs])
  }

  @Test("one damaged item stops no other, and is listed with its reason", arguments: [1, 4])
  func damage(jobs: Int) async throws {
    let manager = try await manager()
    let (before, codes) = try await damaged(fields(120, manager))
    let store = ArraySource.Store(before)
    let new = try await manager.rotate(try key, reason: "test")
    for counts in [[116, 0, 4], [0, 116, 4]] {
      var source = ArraySource(store)
      source.batchCount = 50
      var progress: [Int] = []
      let report = try await manager.rewrap(&source, with: BulkOptions(jobs: jobs)) { items, _ in
        progress.append(items)
      }
      #expect(report.counts == counts)
      #expect(Dictionary(uniqueKeysWithValues: report.failures.map { ($0.name, $0.error.code) }) == codes)
      #expect(report.failures.map(\.name) == ["7", "50", "99", "100"] && source.isFinished)
      #expect(progress == [50, 50, 20] && source.fractionDone == 1)
    }
    for (index, envelope) in store.envelopes.enumerated() {
      guard codes["\(index)"] == nil else {
        #expect(envelope == before[index])
        continue
      }
      #expect(try haveSameBody(envelope, before[index]))
      #expect(try EncryptMessage(parsing: envelope, as: .field).recipients.map(\.kid) == [new.id])
      #expect(try await manager.decryptString(envelope) == "value \(index)")
    }
  }

  @Test("a dry run finds the same and changes nothing", arguments: [1, 4])
  func dryRun(jobs: Int) async throws {
    let manager = try await manager()
    let (before, codes) = try await damaged(fields(110, manager))
    let store = ArraySource.Store(before)
    try await manager.rotate(try key, reason: "test")
    var source = ArraySource(store)
    let report = try await manager.rewrap(&source, with: BulkOptions(isDryRun: true, jobs: jobs))
    #expect(report.counts == [106, 0, 4])
    #expect(Set(report.failures.map(\.name)) == Set(codes.keys))
    #expect(store.envelopes == before && !source.isFinished)
  }

  @Test("equal recipients are rewrapped once a batch")
  func equalRecipients() async throws {
    let provider = CountingProvider()
    let manager = try await manager(provider)
    let old = try #require(try await manager.keyVersions().first)
    let aad = EncryptMessage.recipientAAD(.empty)
    var groups: [[[UInt8]]] = []
    for _ in 0..<2 {
      let cek = SecretBytes.random(count: 32)
      let recipients = [Recipient(kid: old.id, wrapped: try await provider.wrap(cek, under: old.id, aad: aad))]
      var group: [[UInt8]] = []
      for number in 0..<60 {
        let plaintext = [UInt8(number)]
        group.append(
          try EncryptMessage.seal(
            plaintext.span, as: .field, context: .empty, cek: cek, recipients: recipients
          ).encoded())
      }
      groups.append(group)
    }
    let store = ArraySource.Store(zip(groups[0], groups[1]).flatMap { [$0, $1] })
    try await manager.rotate(try key, reason: "test")
    let before = provider.calls.count
    var source = ArraySource(store)
    source.batchCount = 60
    #expect(try await manager.rewrap(&source).counts == [120, 0, 0])
    let calls = provider.calls[before...]
    // Two batches with two sets each: unwrap, wrap, and the new wrapping tried.
    #expect(calls.filter { $0 == .wrap }.count == 4)
    #expect(calls.filter { $0 == .unwrap }.count == 8)
    for (index, envelope) in store.envelopes.enumerated() {
      #expect(try await manager.decrypt(envelope) == [UInt8(index / 2)])
    }
  }

  @Test("a log that fails ends the run: what was stored stays, nothing else is, and the next run does the rest")
  func logFails() async throws {
    let manager = try await manager()
    let before = try await fields(90, manager)
    let store = ArraySource.Store(before)
    try await manager.rotate(try key, reason: "test")
    for jobs in [1, 3] {
      // Three events an item: the second batch with something to do gets stuck half-way.
      let seen = Counter()
      recorder.refuse { _ in
        seen.add(1)
        return seen.value > 30 * 3 + 40
      }
      var source = ArraySource(store)
      source.batchCount = 30
      let stored = store.envelopes
      let error = try await failure { _ = try await manager.rewrap(&source, with: BulkOptions(jobs: jobs)) }
      recorder.refuse { _ in false }
      #expect(error.code == .accessLogUnavailable && !source.isFinished)
      let isNew = zip(store.envelopes, stored).map { $0 != $1 }
      // Whole batches only.
      #expect(isNew.filter { $0 }.count == 30, "\(isNew)")
      for (index, envelope) in store.envelopes.enumerated() {
        #expect(try await manager.decryptString(envelope) == "value \(index)")
      }
    }
    var source = ArraySource(store)
    #expect(try await manager.rewrap(&source).counts == [30, 60, 0])
  }

  @Test("recovery recipients that are missing are added, and stand once")
  func recovery() async throws {
    let provider = InMemoryProvider(name: "m")
    let manager = try await manager(provider)
    let store = ArraySource.Store(try await fields(3, manager))
    let offline = try await provider.importKeyVersion(
      NewKeyVersion(key: KeyName("offline"), purpose: .recovery), material: .random(count: 32))
    try await manager.updateConfiguration(DataAtRestConfig(recoveryRecipients: ["offline"]))
    let current = try #require(try await manager.keyVersions(of: try key).last)
    for counts in [[3, 0, 0], [0, 3, 0]] {
      var source = ArraySource(store)
      #expect(try await manager.rewrap(&source).counts == counts)
      for envelope in store.envelopes {
        #expect(
          try EncryptMessage(parsing: envelope, as: .field).recipients.map(\.kid) == [current.id, offline.id])
      }
    }
    // A newer recovery key takes the place of the old one.
    let newer = try await provider.importKeyVersion(
      NewKeyVersion(key: KeyName("offline"), purpose: .recovery, id: .make(after: offline.id)),
      material: .random(count: 32))
    try await manager.updateConfiguration(DataAtRestConfig(recoveryRecipients: ["offline"]))
    var source = ArraySource(store)
    #expect(try await manager.rewrap(&source).counts == [3, 0, 0])
    let kids = try EncryptMessage(parsing: store.envelopes[0], as: .field).recipients.map(\.kid)
    #expect(kids == [current.id, newer.id])
  }

  @Test("a value that was changed meanwhile is listed, and stays")
  func changedMeanwhile() async throws {
    let manager = try await manager()
    let store = ArraySource.Store(try await fields(5, manager))
    try await manager.rotate(try key, reason: "test")
    let newer = try await manager.encrypt("newer")
    let provider = Meddling(ArraySource(store)) { store.envelopes[2] = newer }
    var source = provider
    let report = try await manager.rewrap(&source)
    #expect(report.counts == [4, 0, 1] && report.failures.map(\.name) == ["2"])
    #expect(store.envelopes[2] == newer)
  }

  /// Somebody writes between a batch and its storing.
  private struct Meddling: RewrapSource {
    var base: ArraySource
    let meddle: @Sendable () -> Void
    init(_ base: ArraySource, _ meddle: @escaping @Sendable () -> Void) {
      self.base = base
      self.meddle = meddle
    }
    var fractionDone: Double? { base.fractionDone }
    mutating func nextBatch() async throws -> [StoredEnvelope]? { try await base.nextBatch() }
    mutating func replace(_ new: [Int: [UInt8]]) async throws -> [Int: KMSError] {
      meddle()
      return try await base.replace(new)
    }
    mutating func finish() async throws { try await base.finish() }
  }

  @Test("what a provider that cannot be asked may hold is a failure, not current")
  func providerOutOfReach() async throws {
    let hsm = FaultInjectingProvider(InMemoryProvider(name: "hsm"))
    let safe = InMemoryProvider(name: "safe")
    _ = try await safe.importKeyVersion(
      NewKeyVersion(key: KeyName("spare")), material: .random(count: 32))
    func manager() throws -> DataAtRestManager {
      try DataAtRestManager(
        providers: [hsm, safe], newKeysIn: "hsm", configuration: DataAtRestConfig(recoveryRecipients: ["spare"]),
        reporter: recorder)
    }
    let first = try manager()
    try await first.createKey(try key)
    let store = ArraySource.Store([try await first.encrypt("v")])
    try await first.rotate(try key, reason: "test")
    hsm.fail(.listVersions, with: KMSError(.providerUnavailable, "unplugged"))
    var source = ArraySource(store)
    let report = try await manager().rewrap(&source)
    #expect(report.counts == [0, 0, 1] && report.failures.first?.error.code == .providerUnavailable)
  }

  @Test("more than one source: reports add up")
  func sum() {
    var sum = BulkReport()
    var other = BulkReport()
    other.changed = 2
    other.unchanged = 3
    other.failures = [("x", KMSError(.notOurs, "y"))]
    sum += other
    sum += other
    #expect(sum.counts == [4, 6, 2] && sum.items == 12)
  }
}

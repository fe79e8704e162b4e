import CryptoPrimitives
import Foundation
import Glibc
import InMemoryProvider
import Strongroom
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import DataAtRest

/// Content keys that are used again: who waits for whom, and when they are forgotten.
struct CacheTests {
  private let provider = GatedProvider()
  private let recorder = Recorder()
  private let clock = HandClock()

  private func manager(_ limits: CacheLimits? = nil) async throws -> DataAtRestManager {
    let manager = try another(limits)
    try await manager.createKey(try key)
    return manager
  }

  /// A node of its own, on the same provider.
  private func another(_ limits: CacheLimits? = nil, logFolder: FilePath? = nil) throws -> DataAtRestManager {
    try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(cache: limits ?? CacheLimits()), reporter: recorder,
      logFolder: logFolder, dataKeys: DataKeys(now: { [clock] in clock.now }))
  }

  private func kid(_ message: [UInt8]) throws -> KeyVersionID? {
    try EncryptMessage(parsing: message, as: .field).recipients.first?.kid
  }

  @Test("nothing is cached unless the configuration says so")
  func off() async throws {
    let manager = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(), reporter: recorder)
    try await manager.createKey(try key)
    let messages = [try await manager.encrypt("1"), try await manager.encrypt("2")]
    for message in messages + messages { _ = try await manager.decrypt(message) }
    #expect(provider.wraps == 2 && provider.unwraps == 4)
    #expect(recorder.events.allSatisfy { !$0.cached })
  }

  @Test("one miss serves all who wait; who is cancelled, the first or another, takes nobody along")
  func coalescing() async throws {
    let manager = try await manager()
    let gate = provider.hold(.wrap)
    let first = Task { try await manager.encrypt("first") }
    await gate.reached()
    let others = (0..<20).map { i in Task { try await manager.encrypt("\(i)") } }
    for task in [first, others[7]] {
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }  // while the gate is closed
    }
    gate.open()
    for (i, task) in others.enumerated() where i != 7 {
      #expect(try await manager.decryptString(try await task.value) == "\(i)")
    }
    #expect(provider.wraps == 1)
    #expect(recorder.events.filter { $0.operation == .encrypt && !$0.success }.count == 2)
  }

  @Test("the same for what is unwrapped")
  func coalescedUnwraps() async throws {
    let manager = try await manager()
    let message = try await manager.encrypt("value")
    let gate = provider.hold(.unwrap)
    let first = Task { try await manager.decryptString(message) }
    await gate.reached()
    let others = (0..<20).map { _ in Task { try await manager.decryptString(message) } }
    first.cancel()
    await #expect(throws: CancellationError.self) { try await first.value }
    gate.open()
    for task in others { #expect(try await task.value == "value") }
    #expect(provider.unwraps == 1)
  }

  @Test("a failure is given to those who wait, and not kept")
  func failures() async throws {
    let manager = try await manager()
    provider.failNext(.wrap)
    #expect(try await failure { _ = try await manager.encrypt("1") }.code == .providerFailed)
    let message = try await manager.encrypt("2")
    provider.failNext(.unwrap)
    #expect(try await failure { _ = try await manager.decrypt(message) }.code == .providerFailed)
    #expect(try await manager.decryptString(message) == "2")
    let failed = recorder.events.filter { $0.errorCode == .providerFailed }
    #expect(failed.map(\.operation) == [.wrap, .encrypt, .unwrap, .decrypt])
    #expect(failed.allSatisfy { $0.key == (try? key) && $0.provider == "gated" })
  }

  @Test("a key that was being wrapped when the KEK rotated is for those who waited, and for nobody after")
  func rotatedMeanwhile() async throws {
    let manager = try await manager()
    let gate = provider.hold(.wrap)
    let early = Task { try await manager.encrypt("early") }
    await gate.reached()
    let new = try await manager.rotate(try key, reason: "test")
    #expect(try kid(await manager.encrypt("meanwhile")) == new.id)
    gate.open()
    let message = try await early.value
    #expect(try kid(message) != new.id)
    #expect(try kid(await manager.encrypt("late")) == new.id)
    #expect(try await manager.decryptString(message) == "early")
  }

  @Test("a rotation and a change of state count at once here, and elsewhere after max-age at the latest")
  func states() async throws {
    let limits = try CacheLimits(maxAge: .seconds(10))
    let (here, there) = (try await manager(limits), try another(limits))
    let old = try await here.encrypt("1")
    #expect(try kid(await there.encrypt("2")) == kid(old))
    for node in [here, there] { #expect(try await node.decryptString(old) == "1") }
    let new = try await here.rotate(try key, reason: "test")
    #expect(try kid(await here.encrypt("3")) == new.id)
    clock.advance(by: .milliseconds(9999))
    #expect(try kid(await there.encrypt("4")) == kid(old))
    clock.advance(by: .milliseconds(1))
    #expect(try kid(await there.encrypt("5")) == new.id)

    #expect(try await there.decryptString(old) == "1")
    try await here.setState(.suspended, of: try #require(try kid(old)), reason: "test")
    #expect(try await failure { _ = try await here.decrypt(old) }.code == .keyStateForbids)
    #expect(try await there.decryptString(old) == "1")
    clock.advance(by: .seconds(10))
    #expect(try await failure { _ = try await there.decrypt(old) }.code == .keyStateForbids)
  }

  @Test("a change of state that only the log did not take is not forgotten to count")
  func stateAndLog() async throws {
    let manager = try await manager()
    let message = try await manager.encrypt("1")
    _ = try await manager.decrypt(message)
    recorder.refuse { $0.operation == .setState && $0.phase == .outcome }
    let id = try #require(try kid(message))
    #expect(
      try await failure { try await manager.setState(.suspended, of: id, reason: "test") }.code
        == .accessLogUnavailable)
    #expect(try await failure { _ = try await manager.decrypt(message) }.code == .keyStateForbids)
    #expect(try await failure { _ = try await manager.encrypt("2") }.code == .keyStateForbids)
  }

  @Test("what is compromised, or too old for the configuration, opens no more easily from the cache")
  func compromised() async throws {
    let manager = try await manager()
    let message = try await manager.encrypt("1")
    let id = try #require(try kid(message))
    try await manager.rotate(try key, reason: "test")
    try await manager.setState(.compromised, of: id, reason: "test")
    #expect(try await manager.decrypt(message, allowCompromised: true) == [0x31])
    #expect(try await failure { _ = try await manager.decrypt(message) }.code == .keyStateForbids)
    let newest = try #require(try await manager.keyVersions().last)
    try await manager.updateConfiguration(
      DataAtRestConfig(minUnwrapVersion: newest.id.description, cache: CacheLimits()))
    let refused = try await failure { _ = try await manager.decrypt(message, allowCompromised: true) }
    #expect(refused.message.contains("min-unwrap-version"))
  }

  @Test("a content key's recipients do not make another message open, nor the context matter less")
  func spliced() async throws {
    let manager = try await manager()
    let context = try EncryptionContext([("row", "1")])
    let message = try await manager.encrypt("1", context: context)
    _ = try await manager.decrypt(message, context: context)
    #expect(try await failure { _ = try await manager.decrypt(message) }.code == .doesNotOpen)
    var committed = message
    committed[20] ^= 1  // in the commitment
    #expect(try await failure { _ = try await manager.decrypt(committed, context: context) }.code == .doesNotOpen)
    var body = message
    body[70] ^= 1
    #expect(try await failure { _ = try await manager.decrypt(body, context: context) }.code == .doesNotOpen)
    #expect(provider.unwraps == 1)
    #expect(
      try await failure { _ = try await manager.decrypt(message + [0], context: context) }.code == .malformedEnvelope)
  }

  @Test("a wrapped key that is bound to its context serves no other, and costs one wrap a context")
  func boundToContext() async throws {
    provider.bindsContext = true
    let manager = try await manager()
    let contexts = try (0..<4).map { try EncryptionContext([("row", "\($0)")]) }
    for _ in 0..<3 {
      for context in contexts {
        let message = try await manager.encrypt("1", context: context)
        #expect(try await manager.decryptString(message, context: context) == "1")
        #expect(try await failure { _ = try await manager.decrypt(message) }.code == .doesNotOpen)
      }
    }
    #expect(provider.wraps == 4)
  }

  @Test("recovery recipients and the key of each call stay what they are")
  func recipients() async throws {
    let manager = try await manager()
    try await manager.createKey(KeyName("spare"))
    let alone = try await manager.encrypt("1")
    try await manager.updateConfiguration(
      DataAtRestConfig(recoveryRecipients: ["spare"], cache: CacheLimits()))
    let both = [try await manager.encrypt("2"), try await manager.encrypt("3", key: KeyName("spare"))]
    let counts = try ([alone] + both).map { try EncryptMessage(parsing: $0, as: .field).recipients.count }
    #expect(counts == [1, 2, 1])
    for message in [alone] + both { _ = try await manager.decrypt(message) }
  }

  @Test("keys wipe themselves once they are pushed out, forgotten or too old; sweeping needs nobody who asks")
  func wiped() async throws {
    let cache = KeyCache<Int, Probe>(now: { [clock] in clock.now })
    let limits = try CacheLimits(maxAge: .seconds(10), maxEntries: 2)
    let wiped = Counter()
    func use(_ id: Int) async throws { _ = try await cache.key(for: id, limits: limits) { Probe(wiped) } }
    for id in [1, 2, 1, 3] { try await use(id) }
    #expect(wiped.value == 1 && cache.find(2) == nil && cache.find(1) != nil)
    clock.advance(by: .seconds(5))
    try await use(4)
    #expect(wiped.value == 2)
    clock.advance(by: .seconds(5))
    cache.sweep()
    #expect(wiped.value == 3 && cache.count == 1)
    cache.forget()
    #expect(wiped.value == 4 && cache.count == 0)
  }

  @Test("what is at hand is found without the cache, and goes with what the cache lets go of")
  func hot() async throws {
    let cache = KeyCache<Int, Probe>(now: { [clock] in clock.now })
    let limits = try CacheLimits(maxAge: .seconds(10), maxEntries: 32)
    let wiped = Counter()
    func isAtHand(_ id: Int) -> Bool {
      cache.quickly(UInt64(id), at: clock.now) { $0 == id } ?? false
    }
    /// On whichever processor this runs now: tried until it stays on one.
    func putAtHand(_ id: Int) {
      for _ in 0..<1000 {
        #expect(cache.find(id, hot: (UInt64(id), id)) != nil)
        if (0..<100).allSatisfy({ _ in isAtHand(id) }) { return }
      }
      Issue.record("it was never at hand")
    }
    func make(_ id: Int) async throws { _ = try await cache.key(for: id, limits: limits) { Probe(wiped, id) } }
    for id in 1...32 { try await make(id) }
    #expect(!isAtHand(1))
    for id in 1...32 { putAtHand(id) }
    #expect(cache.find(3, hot: (3, 3)) != nil)
    try await make(33)
    #expect(wiped.value == 1)  // also where it was at hand
    for id in [2, 3] { #expect(cache.find(id, hot: (UInt64(id), id)) != nil) }
    #expect(cache.find(2, isSpent: { _ in true }) == nil)
    #expect(wiped.value == 2 && !isAtHand(2))
    clock.advance(by: .seconds(10))
    #expect(!isAtHand(3))
    cache.sweep()
    #expect(wiped.value == 33 && cache.count == 0)
    try await make(1)
    putAtHand(1)
    #expect(cache.find(1, hot: (1, 1)) != nil)
    cache.forget()
    #expect(wiped.value == 34 && !isAtHand(1))
  }

  @Test("the cache is asked for what is at hand after some keys were made, so that what is used stays there")
  func asked() async throws {
    let cache = KeyCache<Int, Probe>(now: { [clock] in clock.now })
    let limits = try CacheLimits(maxEntries: 32)  // two keys
    let wiped = Counter()
    func make(_ id: Int) async throws { _ = try await cache.key(for: id, limits: limits) { Probe(wiped, id) } }
    func isAtHand() -> Bool {
      (0..<100).contains { _ in cache.quickly(0, at: clock.now) { $0 == 0 } ?? false }
    }
    try await make(0)
    var wasAtHand = 0
    for id in stride(from: 1, to: 300, by: 3) {
      #expect(cache.find(0, hot: (0, 0)) != nil)
      try await make(id)
      try await make(id + 1)
      if isAtHand() { wasAtHand += 1 }  // not if this runs on another processor now
      try await make(id + 2)
      #expect(!isAtHand())
    }
    #expect(wasAtHand > 0 && cache.count == 32)
  }

  @Test(
    "a list that was asked for before a version was compromised does not keep it usable", .timeLimit(.minutes(1)),
    arguments: [false, true])
  func staleList(isShared: Bool) async throws {
    let store = InMemoryDEKStore()
    func node() throws -> DataAtRestManager {
      try DataAtRestManager(
        providers: [provider], configuration: DataAtRestConfig(cache: CacheLimits()), reporter: recorder,
        dekStore: store)
    }
    let writer = try node()
    try await writer.createKey(try key)
    let message = try await writer.encrypt("1", partition: isShared ? "p" : nil)
    let reader = try node()
    let id = try #require(try await reader.keyVersions().first?.id)
    let change = provider.hold(.setState)
    let compromising = Task { try await reader.setState(.compromised, of: id, reason: "test") }
    await change.reached()
    try await Task.sleep(for: .seconds(5.5))  // until lists are asked for again
    let list = provider.hold(.listVersions)
    let late = Task { try? await reader.decrypt(message) }
    await list.reached()
    change.open()
    _ = try await compromising.value
    list.open()
    _ = await late.value
    #expect(try await failure { _ = try await reader.decrypt(message) }.code == .keyStateForbids)
  }

  @Test("a forked child has none of its parent's keys")
  func forked() async throws {
    let cache = KeyCache<Int, Probe>(now: { [clock] in clock.now })
    _ = try await cache.key(for: 1, limits: CacheLimits()) { Probe(Counter()) }
    func looks() -> (isAtHand: Bool, isKept: Bool) {
      let isAtHand = cache.quickly(1, at: clock.now) { _ in true }
      return (isAtHand == true, cache.find(1, hot: (1, 1)) != nil)
    }
    #expect(looks() == (false, true) && looks() == (true, true))
    // Swift hides fork(); the child only looks, and is gone.
    typealias Fork = @convention(c) () -> pid_t
    let fork = unsafe unsafeBitCast(dlsym(nil, "fork"), to: Fork.self)
    var status = SIGKILL
    // One that was forked while another test's thread held a lock of Swift's runtime waits for ever: then once more.
    for _ in 0..<5 where status == SIGKILL {
      let child = fork()
      if child == 0 { _exit(looks() == (false, false) ? 17 : 1) }
      status = try await onThread {
        var status: CInt = 0
        var looksLeft = 1000
        while unsafe waitpid(child, &status, WNOHANG) == 0 {  // `status` outlives the call
          looksLeft -= 1
          if looksLeft == 0 { kill(child, SIGKILL) }
          usleep(10_000)
        }
        return status
      }
    }
    #expect(status == 17 << 8)
    #expect(cache.find(1) != nil)
  }

  @Test("no census counts that was taken while other nodes could encrypt from their caches")
  func census() async throws {
    let manager = try await manager(try CacheLimits(maxAge: .seconds(600)))
    let message = try await manager.encrypt("1")
    let id = try #require(try kid(message))
    try await manager.rotate(try key, reason: "test")
    let versions = try await manager.keyVersions()
    func destroy(takenAfter seconds: Int) async throws {
      let census = Census(versions: versions, taken: .now().advanced(by: .seconds(seconds)))
      let record = try await manager.signOff(CensusRecord(census, places: ["/"], principal: "operator"))
      try await manager.destroy(id, justifiedBy: .censuses([record]), reason: "test")
    }
    for seconds in [0, 300, 650] {
      let error = try await failure { try await destroy(takenAfter: seconds) }
      #expect(error.code == .invalidInput && error.message.contains("cache.max-age"))
    }
    _ = try await manager.decrypt(message)
    try await destroy(takenAfter: 665)
    #expect(try await failure { _ = try await manager.decrypt(message) }.code == .notOurs)
  }
}

extension CacheTests {
  @Test("a version of no use between does not hide that a key was left later")
  func censusAfterAFailedRotation() async throws {
    let manager = try await manager(try CacheLimits(maxAge: .seconds(600)))
    let ago = { (seconds: Int) in Timestamp.now().advanced(by: .seconds(-seconds)) }
    let name = try KeyName("older")
    let old = try await provider.createKeyVersion(NewKeyVersion(key: name, id: .make(now: ago(9000))))
    let useless = try await provider.createKeyVersion(NewKeyVersion(key: name, id: .make(now: ago(7200))))
    _ = try await provider.setState(.deactivated, of: useless.id)
    try await manager.rotate(name, reason: "test")
    let census = Census(versions: try await manager.keyVersions(), taken: .now().advanced(by: .seconds(1)))
    let record = try await manager.signOff(CensusRecord(census, places: ["/"], principal: "operator"))
    let error = try await failure {
      _ = try await manager.destroy(old.id, justifiedBy: .censuses([record]), reason: "test")
    }
    #expect(error.code == .invalidInput && error.message.contains("cache.max-age"), "\(error)")
  }
}

private final class Probe: HotKey {
  typealias Tag = Int
  let id: Int
  private let wiped: Counter

  init(_ wiped: Counter, _ id: Int = 0) {
    self.wiped = wiped
    self.id = id
  }

  func makeOwn(for tag: Int) throws -> Int { id }
  deinit { wiped.add(1) }
}

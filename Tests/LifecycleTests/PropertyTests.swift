import Foundation
import InMemoryProvider
import OpenSSLProvider
import PKCS11Provider
import Strongroom
import SystemPackage
import TestSupport
import Testing

/// Whatever is done to keys, in whatever order, and wherever it is cut off: every envelope opens, and no content key
/// is left behind.
@Suite(.timeLimit(.minutes(10)))
struct PropertyTests {
  @Test("random sequences on memory", arguments: seeds(6))
  func memory(seed: UInt64) async throws {
    let providers: [any KMSProvider] = ["a", "b"].map { InMemoryProvider(name: $0) }
    try await run(seed, steps: 40) { providers }
  }

  @Test(
    "random sequences on memory and SoftHSM", .enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"),
    arguments: seeds(3))
  func softHSM(seed: UInt64) async throws {
    let memory = InMemoryProvider(name: "memory")
    let token = try SoftHSM.makeToken()
    try await run(seed, steps: 40) { [memory, try token.provider()] }
  }

  @Test(
    "random sequences on memory, OpenSSL and SoftHSM", .enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"),
    arguments: seeds(2))
  func all(seed: UInt64) async throws {
    let files = TemporaryFolder()
    let memory = InMemoryProvider(name: "memory")
    let token = try SoftHSM.makeToken()
    try await run(seed, steps: 20) {
      [
        memory, try token.provider(),
        OpenSSLProvider(
          OpenSSLConfiguration(
            name: "openssl", keystore: files.path + "/keys.p12", passphrase: secret("passphrase of it"))),
      ]
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: files.path)
    #expect(Set(names).isSubset(of: ["keys.p12", "keys.p12.lock"]), "seed \(seed): \(names)")
  }

  /// Some that are always the same, and a new one.
  private static func seeds(_ count: UInt64) -> [UInt64] { Array(1..<count) + [UInt64.random(in: 1000 ... .max)] }

  private func run(_ seed: UInt64, steps: Int, _ open: @escaping () throws -> [any KMSProvider]) async throws {
    let files = TemporaryFolder()
    var walk = try Walk(seed: seed, folder: FilePath(files.path), open)
    try await walk.begin()
    for number in 0..<steps {
      let step = try await walk.step()
      try await walk.check("seed \(seed), step \(number): \(step)")
    }
    await walk.end()
  }
}

/// One sequence.
private struct Walk {
  private var random: SplitMix
  private let folder: FilePath
  private let open: () throws -> [any KMSProvider]
  private let store = ArraySource.Store()
  private var values: [[UInt8]] = []
  private var files: [FilePath: (value: [UInt8], context: EncryptionContext)] = [:]
  private var keys: [KeyName] = []
  private var primary: String
  private var providers: [any KMSProvider]
  private var manager: DataAtRestManager
  private let reporter = Reporter()
  /// Of managers that were dropped: as a process that died, they are not closed while the sequence runs.
  private var dropped: [any KMSProvider] = []

  init(seed: UInt64, folder: FilePath, _ open: @escaping () throws -> [any KMSProvider]) throws {
    random = SplitMix(state: seed)
    (self.folder, self.open) = (folder, open)
    providers = try open()
    primary = providers[0].identity.name
    manager = try DataAtRestManager(providers: providers, configuration: DataAtRestConfig(), reporter: reporter)
  }

  private mutating func reopen() throws {
    dropped += providers
    providers = try open()
    reporter.break(after: nil)
    manager = try DataAtRestManager(
      providers: providers, newKeysIn: primary, configuration: DataAtRestConfig(), reporter: reporter)
  }

  mutating func begin() async throws {
    try await newKey()
    for _ in 0..<4 { try await encrypt() }
    for index in 0..<2 {
      let (plain, sealed) = (folder.appending("plain"), folder.appending("sealed-\(index)"))
      let value = Array("content \(index)".utf8)
      try plain.write(value)
      let context = try EncryptionContext([(name: "file", value: "\(index)")])
      try await manager.encryptFile(from: .path(plain), to: .path(sealed), context: context, key: keys[0])
      try FileManager.default.removeItem(atPath: plain.string)
      files[sealed] = (value, context)
    }
  }

  func end() async {
    for provider in providers + dropped { await provider.close() }
  }

  /// - Returns: what was done.
  mutating func step() async throws -> String {
    let crash = random.below(3) == 0 ? random.below(25) : nil
    let choice = random.below(100)
    if let crash, choice >= 30 { reporter.break(after: crash) }
    let name: String
    do {
      name = try await act(choice)
    } catch let error as KMSError where reporter.isBroken || error.code == .keyStateForbids {
      name = "choice \(choice) ended with \(error.code)"
    }
    if reporter.isBroken { try reopen() }
    reporter.break(after: nil)
    return name + (crash.map { ", crash after \($0)" } ?? "")
  }

  private mutating func act(_ choice: Int) async throws -> String {
    // Of a key whose every version was destroyed, a token shows nothing: it may be made anew.
    let known = Set(try await manager.keyVersions().map(\.key))
    for key in keys where !known.contains(key) { try await manager.createKey(key) }
    switch choice {
    case ..<20:
      try await encrypt()
      return "encrypt"
    case ..<25:
      if keys.count < 4 { try await newKey() }
      return "create"
    case ..<30:
      try reopen()
      return "restart"
    case ..<50:
      try await manager.rotate(keys[random.below(keys.count)], reason: "test")
      return "rotate"
    case ..<60: return try await deactivate()
    case ..<67: return try await suspend()
    case ..<87:
      try await rewrap(.current)
      return "rewrap"
    case ..<93: return try await migrate()
    default: return try await destroy()
    }
  }

  private mutating func newKey() async throws {
    let name = try KeyName(keys.isEmpty ? "default" : "key-\(keys.count)")
    try await manager.createKey(name)
    keys.append(name)
  }

  private mutating func encrypt() async throws {
    let value = Array("value \(values.count)".utf8)
    let context = try EncryptionContext([(name: "number", value: "\(values.count)")])
    store.append(try await manager.encrypt(value, context: context, key: keys[random.below(keys.count)]), context)
    values.append(value)
  }

  private mutating func deactivate() async throws -> String {
    let active = try await manager.keyVersions().filter { $0.state == .active }
    guard !active.isEmpty else { return "nothing to deactivate" }
    try await manager.setState(.deactivated, of: active[random.below(active.count)].id, reason: "test")
    return "deactivate"
  }

  /// What is suspended does not open for the time, and must not be harmed by a rewrap.
  private mutating func suspend() async throws -> String {
    let versions = try await manager.keyVersions().filter { [.active, .deactivated].contains($0.state) }
    guard !versions.isEmpty else { return "nothing to suspend" }
    let version = versions[random.below(versions.count)]
    do {
      try await manager.setState(.suspended, of: version.id, reason: "test")
      try await rewrap(.current)
    } catch let error as KMSError where reporter.isBroken {
      try reopen()
      _ = error
    }
    reporter.break(after: nil)
    let state = try await manager.keyVersions().first { $0.id == version.id }?.state
    if state == .suspended { try await manager.setState(.active, of: version.id, reason: "test") }
    return "suspend"
  }

  private mutating func rewrap(_ goal: RewrapGoal) async throws {
    var source = ArraySource(store)
    _ = try await manager.rewrap(&source, for: goal, with: BulkOptions(jobs: 1 + random.below(2)))
    for (path, file) in files.sorted(by: { $0.key.string < $1.key.string }) {
      var source = EnvelopeFiles(
        [path], context: file.context, replacement: random.below(2) == 0 ? .atomic : .inPlace)
      _ = try await manager.rewrap(&source, for: goal)
    }
  }

  private mutating func migrate() async throws -> String {
    let names = providers.map(\.identity.name).filter { $0 != primary }
    let target = names[random.below(names.count)]
    try await manager.makeMissingKeys(of: primary, in: target)
    try await rewrap(.provider(target, leaving: primary))
    // New data only goes there when all is moved.
    let left = primary
    primary = target
    try reopen()
    return "migrate from \(left) to \(target)"
  }

  /// What nothing needs is destroyed.
  private mutating func destroy() async throws -> String {
    var census = try await manager.beginCensus()
    var source = ArraySource(store)
    try await manager.count(&source, in: &census)
    var inFiles = EnvelopeFiles([folder], replacement: nil)
    try await manager.count(&inFiles, in: &census)
    let idle = census.versions.filter { version in
      ![.active, .destroyed].contains(version.state) && census.envelopesByVersion[version.id] == nil
    }
    guard census.failures.isEmpty, !idle.isEmpty else { return "nothing to destroy" }
    let signed = try await manager.signOff(CensusRecord(census, places: [folder.string], principal: "test"))
    try await manager.destroy(
      idle[random.below(idle.count)].id, justifiedBy: .censuses([signed]), reason: "test")
    return "destroy"
  }

  /// Everything opens, and nothing is left.
  func check(_ comment: String) async throws {
    do {
      let all = store.all
      #expect(all.count == values.count, "\(comment)")
      for (item, value) in zip(all, values) {
        let opened = try await manager.decrypt(item.envelope, context: item.context)
        #expect(opened == value, "\(comment)")
      }
      for (path, file) in files {
        let out = folder.appending("out")
        try await manager.decryptFile(from: .path(path), to: .path(out), context: file.context)
        #expect(try out.content == file.value, "\(comment)")
        try FileManager.default.removeItem(atPath: out.string)
      }
    } catch {
      Issue.record("\(comment): \(error)")
      throw error
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.string)
    #expect(Set(names) == Set(files.keys.compactMap { $0.lastComponent?.string }), "\(comment)")
    for case let token as PKCS11Provider in providers {
      #expect(try await token.sessionObjectCount() == 0, "\(comment)")
      #expect(try await token.strayObjectCount() == 0, "\(comment)")
    }
  }
}

/// Steele, Lea, Flood: a generator that gives the same from the same seed.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
}

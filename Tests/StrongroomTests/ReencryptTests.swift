import Foundation
import InMemoryProvider
import Strongroom
import Synchronization
import SystemPackage
import Testing

/// New content keys and new bodies.
struct ReencryptTests {
  private let manager: DataAtRestManager
  private let context: EncryptionContext

  init() throws {
    manager = try DataAtRestManager(
      providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(), reporter: Recorder())
    context = try EncryptionContext([(name: "row", value: "1")])
  }

  /// Leaks the key's current version: a new one is made.
  private func leak() async throws -> KeyVersion {
    let old = try #require(try await manager.keyVersions(of: try key).last)
    let new = try await manager.rotate(try key, reason: "leak")
    try await manager.setState(.compromised, of: old.id, reason: "leak")
    return new
  }

  @Test("fields: what leaked opens nothing of the new envelope", arguments: [1, 3])
  func fields(jobs: Int) async throws {
    try await manager.createKey(try key)
    var before: [[UInt8]] = []
    for number in 0..<40 { before.append(try await manager.encrypt("value \(number)", context: context)) }
    let new = try await leak()
    #expect(try await failure { _ = try await manager.decrypt(before[0], context: context) }.code == .keyStateForbids)
    let store = ArraySource.Store(before + [Array("no envelope".utf8)])
    let right = context
    var source = ArraySource(store)
    source.context = { $0 == 5 ? .empty : right }
    let dry = try await manager.reencrypt(&source, with: BulkOptions(isDryRun: true, jobs: jobs))
    #expect(dry.counts == [39, 0, 2] && store.envelopes.prefix(40) == before[...])
    source = ArraySource(store)
    source.context = { $0 == 5 ? .empty : right }  // a wrong one
    let report = try await manager.reencrypt(&source, with: BulkOptions(jobs: jobs))
    #expect(report.counts == [39, 0, 2] && report.failures.map(\.name) == ["5", "40"])
    #expect(report.failures[0].error.code == .doesNotOpen && store.envelopes[5] == before[5])
    for (number, envelope) in store.envelopes.prefix(40).enumerated() where number != 5 {
      let (now, then) = (
        try EncryptMessage(parsing: envelope, as: .field), try EncryptMessage(parsing: before[number], as: .field)
      )
      #expect(now.thumbprint != then.thumbprint && now.recipients.map(\.kid) == [new.id])
      let isSame = try haveSameBody(envelope, before[number])
      #expect(!isSame)
      #expect(try await manager.decryptString(envelope, context: context) == "value \(number)")
    }
  }

  @Test("another key, and a message that a provider encrypted itself")
  func otherKey() async throws {
    try await manager.createKey(try key)
    let other = try await manager.createKey(KeyName("clean"))
    let field = try await manager.reencrypt(try await manager.encrypt("v"), key: other.key)
    #expect(try EncryptMessage(parsing: field, as: .field).recipients.map(\.kid) == [other.id])
    #expect(try await manager.decryptString(field) == "v")
    let header = try await keyBlob()
    #expect(try await failure { _ = try await manager.reencrypt(header) }.code == .notSupported)

    let direct = try await manager.createKey(KeyName("direct"), purpose: .encrypt)
    try await manager.updateConfiguration(DataAtRestConfig(kmsKeyID: "direct", envelopeEncryptionEnabled: false))
    let message = try await manager.encrypt("d", context: context)
    let newer = try await manager.rotate(direct.key, reason: "leak")
    try await manager.setState(.compromised, of: direct.id, reason: "leak")
    let again = try await manager.reencrypt(message, context: context)
    #expect(try Encrypt0Message(parsing: again).keyID == newer.id.bytes)
    #expect(try await manager.decryptString(again, context: context) == "d")
  }

  private func keyBlob() async throws -> [UInt8] {
    try await withFolder { folder in
      let (plain, sealed) = (folder.appending("plain"), folder.appending("sealed"))
      try plain.write("x")
      try await manager.encryptFile(from: .path(plain), to: .path(sealed))
      return try FileHeader(startOf: try sealed.content).keyBlob.encoded()
    }
  }

  @Test("files of every shape", arguments: [0, 1, FileBody.plaintextSize(ofSegment: 0), 2_600_000])
  func files(size: Int) async throws {
    try await withFolder { folder in
      try await manager.createKey(try key)
      let (plain, sealed, out) = (folder.appending("plain"), folder.appending("sealed"), folder.appending("out"))
      let content = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      try Data(content).write(to: URL(filePath: plain.string))
      try await manager.encryptFile(from: .path(plain), to: .path(sealed), context: context)
      try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: sealed.string)
      let before = try sealed.content
      let new = try await leak()

      let error = try await failure { try await manager.reencryptFile(sealed) }
      #expect(error.code == .doesNotOpen)
      #expect(try sealed.content == before)

      let done = Counter()
      try await manager.reencryptFile(sealed, context: context) { done.add($0) }
      #expect(done.value == size)
      let after = try sealed.content
      let (now, then) = (try FileHeader(startOf: after), try FileHeader(startOf: before))
      #expect(now.keyBlob.thumbprint != then.keyBlob.thumbprint && now.keyBlob.recipients.map(\.kid) == [new.id])
      #expect(after.count == before.count)
      // No block of the body is as it was.
      let common = zip(after, before).dropFirst(now.size).prefix(4000).filter { $0 == $1 }.count
      #expect(common < 100)
      #expect(after.suffix(16) != before.suffix(16))
      try await manager.decryptFile(from: .path(sealed), to: .path(out), context: context)
      #expect(try out.content == content)
      let mode = try FileManager.default.attributesOfItem(atPath: sealed.string)[.posixPermissions] as? Int
      #expect(mode == 0o640)
    }
  }

  @Test("a damaged body is found before the file is replaced; one that was cut off changes nothing")
  func damagedBody() async throws {
    try await withFolder { folder in
      try await manager.createKey(try key)
      let (plain, sealed) = (folder.appending("plain"), folder.appending("sealed"))
      try Data(repeating: 1, count: 2_600_000).write(to: URL(filePath: plain.string))
      try await manager.encryptFile(from: .path(plain), to: .path(sealed))
      var bytes = try sealed.content
      bytes[bytes.count - 40] ^= 1
      try Data(bytes).write(to: URL(filePath: sealed.string))
      var source = EnvelopeFiles([folder])
      let report = try await manager.reencrypt(&source)
      #expect(report.counts == [0, 0, 1] && report.failures.first?.error.code == .doesNotOpen)
      #expect(try sealed.content == bytes)

      bytes[bytes.count - 40] ^= 1
      try Data(bytes).write(to: URL(filePath: sealed.string))
      let running = Mutex<Task<Void, any Error>?>(nil)
      let task = Task { [manager] in
        try await manager.reencryptFile(sealed) { _ in
          while !running.withLock({ $0?.cancel() != nil }) { usleep(1000) }
        }
      }
      running.withLock { $0 = task }
      await #expect(throws: CancellationError.self) { try await task.value }
      #expect(try sealed.content == bytes)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.string).sorted() == ["plain", "sealed"])
    }
  }
}

import Dispatch
import InMemoryProvider
import Strongroom
import Synchronization
import SystemPackage
import Testing

/// What is still being written when its key version is left has no name yet, so no census sees it.
struct WrittenMeanwhileTests {
  private let recorder = Recorder()
  private let provider = InMemoryProvider(name: "m")

  private func manager() async throws -> DataAtRestManager {
    let manager = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(), reporter: recorder)
    try await manager.createKey(try key)
    return manager
  }

  private func signedOff(_ manager: DataAtRestManager) async throws -> [UInt8] {
    try await manager.signOff(CensusRecord(manager.beginCensus(), places: ["/"], principal: "operator"))
  }

  /// Encrypts what comes through a pipe. Its last bytes come after `body`, and the content key was wrapped before.
  private func encrypt(
    to target: FileEndpoint, with manager: DataAtRestManager, meanwhile body: () async throws -> Void
  ) async throws {
    let (input, output) = try FileDescriptor.pipe()
    let encrypted = Task { try await manager.encryptFile(from: .descriptor(input), to: target) }
    for _ in 0..<10_000 where !recorder.events.contains(where: { $0.operation == .wrap }) {
      try await Task.sleep(for: .milliseconds(1))
    }
    let body = await Result { try await body() }
    _ = try output.writeAll("content".utf8)
    try output.close()
    let result = await encrypted.result
    try input.close()
    try body.get()
    try result.get()
  }

  @Test(
    "a file gets a header for the version of now, and opens though the old one is destroyed", .timeLimit(.minutes(1)))
  func file() async throws {
    try await withFolder { folder in
      let manager = try await manager()
      let old = try #require(try await manager.keyVersions().first)
      let (path, opened) = (folder.appending("sealed"), folder.appending("opened"))
      try await encrypt(to: .path(path), with: manager) {
        try await manager.rotate(try key, reason: "test")
        let census = try await signedOff(manager)
        try await manager.destroy(old.id, justifiedBy: .censuses([census]), reason: "test")
      }
      let event = try #require(recorder.events.last { $0.operation == .encrypt })
      let current = try #require(try await manager.keyVersions().last)
      #expect(event.success && event.version == current.id && current.id != old.id)
      try await manager.decryptFile(from: .path(path), to: .path(opened))
      #expect(try String(decoding: opened.content, as: UTF8.self) == "content")
    }
  }

  @Test(
    "what went out already fails when it would not open; a version that was only left will do",
    arguments: [false, true])
  func stream(isDestroyed: Bool) async throws {
    try await withFolder { folder in
      let manager = try await manager()
      let old = try #require(try await manager.keyVersions().current)
      let target = try FileDescriptor.open(
        folder.appending("sealed"), .readWrite, options: .create, permissions: .ownerReadWrite)
      defer { try? target.close() }
      let result = await Result {
        try await encrypt(to: .descriptor(target), with: manager) {
          try await manager.rotate(try key, reason: "test")
          guard isDestroyed else { return }
          try await manager.destroy(old.id, justifiedBy: .dataLossAccepted(try key), reason: "test")
        }
      }
      if isDestroyed {
        #expect(throws: KMSError(.keyStateForbids, "")) { try result.get() }
      } else {
        try result.get()
      }
    }
  }

  @Test("a file that is encrypted anew does not take the old one's place under a version that is gone")
  func reencrypt() async throws {
    try await withFolder { folder in
      let manager = try await manager()
      let (path, opened) = (folder.appending("sealed"), folder.appending("opened"))
      try await manager.encryptFile(from: .path(folder.appending("strongroom").written("content")), to: .path(path))
      let old = try #require(try await manager.keyVersions().first)
      let rotated = DispatchSemaphore(value: 0)
      let isBegun = Counter()
      let done = Task {
        try await manager.reencryptFile(path) { _ in
          isBegun.add(1)
          rotated.wait()
          rotated.signal()
        }
      }
      for _ in 0..<10_000 where isBegun.value == 0 { try await Task.sleep(for: .milliseconds(1)) }
      try await manager.rotate(try key, reason: "test")
      try await manager.destroy(old.id, justifiedBy: .dataLossAccepted(try key), reason: "test")
      rotated.signal()
      try await done.value
      try await manager.decryptFile(from: .path(path), to: .path(opened))
      #expect(try String(decoding: opened.content, as: UTF8.self) == "content")
    }
  }

  /// Is seen by others when it is finished, and something happens between.
  private struct Late: RewrapSource {
    var base: ArraySource
    let between: @Sendable () async throws -> Void
    var appearsAtTheEnd: Bool { true }
    var fractionDone: Double? { base.fractionDone }
    mutating func nextBatch() async throws -> [StoredEnvelope]? { try await base.nextBatch() }
    mutating func replace(_ new: [Int: [UInt8]]) async throws -> [Int: KMSError] {
      let refused = try await base.replace(new)
      try await between()
      return refused
    }
    mutating func finish() async throws { try await base.finish() }
  }

  @Test("a table is not replaced when the version was left that its new envelopes need", arguments: [false, true])
  func table(isLeft: Bool) async throws {
    let manager = try await manager()
    let envelopes = [try await manager.encrypt("1"), try await manager.encrypt("2")]
    try await manager.rotate(try key, reason: "test")
    var source = Late(base: ArraySource(ArraySource.Store(envelopes))) {
      if isLeft { try await manager.rotate(try key, reason: "test") }
    }
    if isLeft {
      let error = try await failure { _ = try await manager.rewrap(&source) }
      #expect(error.code == .keyStateForbids && error.advice.contains("again"))
    } else {
      #expect(try await manager.rewrap(&source).counts == [2, 0, 0])
    }
    #expect(source.base.isFinished == !isLeft)
  }

  @Test(
    "a census does not hold when the log has something encrypted under the version after it", .timeLimit(.minutes(1)))
  func logged() async throws {
    try await withFolder { folder in
      let manager = try DataAtRestManager.open(configuration("providers: { m: { type: memory } }\n", in: folder))
      let old = try await manager.createKey(try key)
      let (input, output) = try FileDescriptor.pipe()
      let target = try FileDescriptor.open(
        folder.appending("sealed"), .readWrite, options: .create, permissions: .ownerReadWrite)
      let encrypted = Task { try await manager.encryptFile(from: .descriptor(input), to: .descriptor(target)) }
      // Its header comes first.
      for _ in 0..<10_000 where try target.seek(offset: 0, from: .end) == 0 {
        try await Task.sleep(for: .milliseconds(1))
      }
      try await manager.rotate(try key, reason: "test")
      let census = try await signedOff(manager)
      _ = try output.writeAll("content".utf8)
      try output.close()
      try await encrypted.value
      let error = try await failure {
        _ = try await manager.destroy(old.id, justifiedBy: .censuses([census]), reason: "test")
      }
      #expect(error.code == .invalidInput && error.message.contains("something was encrypted under"), "\(error)")
      try await manager.destroy(old.id, justifiedBy: .censuses([try await signedOff(manager)]), reason: "test")
      for descriptor in [input, target] { try descriptor.close() }
      await manager.close()
    }
  }
}

extension FilePath {
  /// The file with this content.
  fileprivate func written(_ text: String) throws -> FilePath {
    try write(text)
    return self
  }
}

extension Result where Failure == any Error {
  fileprivate init(_ body: () async throws -> Success) async {
    do { self = .success(try await body()) } catch { self = .failure(error) }
  }
}

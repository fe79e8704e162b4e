import Foundation
import KMSCore
import Synchronization
import SystemPackage
import Testing

@testable import AccessLog

/// A folder for one test, removed after it.
func withFolder(_ body: (FilePath) async throws -> Void) async throws {
  let url = FileManager.default.temporaryDirectory.appending(path: "access-log-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(at: url) }
  try await body(FilePath(url.path))
}

/// Reads to the end on a thread of its own: the cooperative pool has few, and tests here block them.
func readingToEnd(of handle: FileHandle) -> Task<Data, Never> {
  let (stream, continuation) = AsyncStream.makeStream(of: Data.self)
  Thread.detachNewThread {
    continuation.yield(handle.readDataToEndOfFile())
    continuation.finish()
  }
  return Task { await stream.first { _ in true } ?? Data() }
}

func files(in folder: FilePath) throws -> [String] {
  try FileManager.default.contentsOfDirectory(atPath: folder.string).sorted()
}

/// What was written: a file that was finished may be compressed meanwhile.
func content(_ folder: FilePath, _ name: String) async throws -> String {
  let file = URL(filePath: folder.appending(name).string)
  guard name.hasSuffix(".gz") else { return String(decoding: try Data(contentsOf: file), as: UTF8.self) }
  let (process, output) = (Process(), Pipe())
  process.executableURL = URL(filePath: "/bin/zcat")
  process.arguments = [file.path]
  process.standardOutput = output
  try process.run()
  let text = String(decoding: await readingToEnd(of: output.fileHandleForReading).value, as: UTF8.self)
  process.waitUntilExit()
  #expect(process.terminationStatus == 0)
  return text
}

/// All records of the folder and what the reader says of it.
func readAll(
  _ folder: FilePath, _ filter: AccessFilter = AccessFilter()
) throws -> (records: [AccessRecord], summary: AccessLogReader.Summary) {
  var records: [AccessRecord] = []
  let summary = try AccessLogReader(directory: folder).forEach(matching: filter) { record, _ in records.append(record) }
  return (records, summary)
}

/// Keeps events, and refuses those that it is told to.
final class Recorder: AccessReporter {
  private let state = Mutex<(events: [AccessEvent], refuse: Set<AccessEvent.Phase>)>(([], []))
  var events: [AccessEvent] { state.withLock { $0.events } }
  var refuse: Set<AccessEvent.Phase> {
    get { state.withLock { $0.refuse } }
    set { state.withLock { $0.refuse = newValue } }
  }

  private let named = Atomic(false)
  var requiresPrincipal: Bool {
    get { named.load(ordering: .relaxed) }
    set { named.store(newValue, ordering: .relaxed) }
  }

  func report(_ event: AccessEvent) async throws {
    let isRefused = state.withLock { state in
      if !state.refuse.contains(event.phase) { state.events.append(event) }
      return state.refuse.contains(event.phase)
    }
    if isRefused { throw KMSError(.accessLogUnavailable, "the disk is full", advice: "Free some space.") }
  }
}

/// Answers every call, counts them, and throws what it is told to.
final class Puppet: KMSProvider {
  let identity = ProviderIdentity(kind: "memory", name: "puppet")
  private let state = Mutex<(calls: [String], failure: (any Error)?)>(([], nil))
  var calls: [String] { state.withLock { $0.calls } }

  init(failing failure: (any Error)? = nil) { state.withLock { $0.failure = failure } }

  private func called(_ name: String) throws {
    let failure = state.withLock { state in
      state.calls.append(name)
      return state.failure
    }
    if let failure { throw failure }
  }

  private func version(_ id: KeyVersionID, _ state: KeyState) throws -> KeyVersion {
    KeyVersion(
      id: id, key: try KeyName("k"), purpose: .wrap, state: state, enforcement: .suite, provider: identity.name)
  }

  func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    try called("list")
    return []
  }
  func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try called("create")
    return try version(request.id, .active)
  }
  func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    try called("state")
    return try version(id, state)
  }
  func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    try called("wrap")
    return WrappedKey(algorithm: .a256KW, bytes: [UInt8](repeating: 7, count: 40))
  }
  func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try called("unwrap")
    return SecretBytes.random(count: 32)
  }
  func health() async -> ProviderHealth { ProviderHealth(isServing: true, detail: "well") }
  func close() async { try? called("close") }
}

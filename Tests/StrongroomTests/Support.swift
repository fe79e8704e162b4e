import Foundation
import Strongroom
import Synchronization
import SystemPackage
import Testing

/// A folder for one test, removed after it.
func withFolder<Result>(_ body: (FilePath) async throws -> Result) async throws -> Result {
  let url = FileManager.default.temporaryDirectory.appending(path: "strongroom-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(at: url) }
  return try await body(FilePath(url.path))
}

extension FilePath {
  func write(_ text: String) throws { try Data(text.utf8).write(to: URL(filePath: string)) }
  var content: [UInt8] { get throws { Array(try Data(contentsOf: URL(filePath: string))) } }
  var isThere: Bool { FileManager.default.fileExists(atPath: string) }
}

/// A configuration of `yaml` in `strongroom.yaml`.
func configuration(
  _ yaml: String, in folder: FilePath, environment: [String: String] = [:]
) throws -> SuiteConfiguration {
  let file = folder.appending("strongroom.yaml")
  try file.write(yaml)
  return try SuiteConfiguration.load(file: file, environment: environment)
}

/// The error that the body ends with.
func failure(_ body: () async throws -> Void) async throws -> KMSError {
  do { try await body() } catch let error as KMSError { return error }
  throw NoFailure()
}

struct NoFailure: Error {}

/// Keeps events; refuses those that it is told to.
final class Recorder: AccessReporter {
  private let state = Mutex<(events: [AccessEvent], refuses: @Sendable (AccessEvent) -> Bool)>(([], { _ in false }))
  var events: [AccessEvent] { state.withLock { $0.events } }

  func refuse(_ refuses: @escaping @Sendable (AccessEvent) -> Bool) { state.withLock { $0.refuses = refuses } }

  func report(_ event: AccessEvent) async throws {
    let refused = state.withLock { state in
      let refused = state.refuses(event)
      if !refused { state.events.append(event) }
      return refused
    }
    if refused { throw KMSError(.accessLogUnavailable, "the disk is full", advice: "Free some space.") }
  }
}

/// The key that configurations name when they name none.
var key: KeyName { get throws { try KeyName("default") } }

/// Counts from any thread.
final class Counter: Sendable {
  private let count = Mutex(0)
  var value: Int { count.withLock { $0 } }
  func add(_ number: Int) { count.withLock { $0 += number } }
}

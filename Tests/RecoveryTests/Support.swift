import Foundation
import KMSCore
import Synchronization
import TestSupport

/// The error that the body ends with.
func failure(_ body: () async throws -> Void) async throws -> KMSError {
  do { try await body() } catch let error as KMSError { return error }
  throw NoFailure()
}

struct NoFailure: Error {}

extension TemporaryFolder {
  func url(_ name: String) -> URL { URL(fileURLWithPath: path + "/" + name) }

  func bytes(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: url(name))) }

  func secret(_ name: String) throws -> SecretBytes {
    let content = try bytes(name)
    return SecretBytes(copying: content.span)
  }

  func write(_ bytes: [UInt8], to name: String) throws { try Data(bytes).write(to: url(name)) }

  /// A line of bash in this folder.
  @discardableResult
  func run(_ line: String, environment: [String: String] = [:]) async throws -> ProcessResult {
    try await runProcess("/bin/bash", ["-c", "set -e; " + line], environment: environment, folder: path)
  }
}

/// Keeps events.
final class Recorder: AccessReporter {
  private let state = Mutex<(events: [AccessEvent], refuses: Bool)>(([], false))
  var events: [AccessEvent] { state.withLock { $0.events } }

  func refuseAll() { state.withLock { $0.refuses = true } }

  func report(_ event: AccessEvent) async throws {
    let refused = state.withLock { state in
      if !state.refuses { state.events.append(event) }
      return state.refuses
    }
    if refused { throw KMSError(.accessLogUnavailable, "the disk is full", advice: "Free some space.") }
  }
}

let fixtures = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../Fixtures/recovery").standardizedFileURL
  .path

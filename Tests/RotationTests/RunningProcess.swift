import Foundation
import TestSupport

/// A program that runs beside the test and is killed by it, or ends by itself. Its lines go through a file.
final class RunningProcess {
  private let process = Process()
  private let files = TemporaryFolder()

  init(_ executable: String, _ arguments: [String], environment: [String: String]) throws {
    for name in ["out", "err"] { try Data().write(to: url(name)) }
    process.executableURL = URL(filePath: executable)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: url("out"))
    process.standardError = try FileHandle(forWritingTo: url("err"))
    try process.run()
  }

  deinit { if process.isRunning { Glibc.kill(process.processIdentifier, SIGKILL) } }

  private func url(_ name: String) -> URL { URL(filePath: files.path + "/" + name) }
  private func text(_ name: String) throws -> String { try String(contentsOf: url(name), encoding: .utf8) }

  var id: Int32 { process.processIdentifier }
  /// Whole lines only: what was printed when it died may be torn.
  var lines: [String] { get throws { try text("out").split(separator: "\n").map(String.init) } }
  var errors: String { get throws { try text("err") } }

  struct Ended: Error { let errors: String }

  func checkRunning() throws {
    guard process.isRunning else { throw Ended(errors: try errors) }
  }

  func waitForLine(_ matches: (String) -> Bool) async throws {
    while try !lines.contains(where: matches) {
      try checkRunning()
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  /// - Returns: the lines that it printed.
  func kill() async throws -> [String] {
    try checkRunning()
    Glibc.kill(id, SIGKILL)
    _ = try await end()
    return try lines
  }

  /// - Returns: its exit code, or the signal's number.
  func end() async throws -> Int32 {
    while process.isRunning { try await Task.sleep(for: .milliseconds(5)) }
    return process.terminationStatus
  }
}

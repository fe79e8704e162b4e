import Foundation
import TestSupport

/// What a process left.
struct Outcome {
  let exitCode: Int32
  let output: String
  let errors: String
}

extension Workspace {
  /// Runs a line of bash in the working folder.
  func run(_ line: String) async throws -> Outcome {
    try await onThread {
      let process = Process()
      process.executableURL = URL(filePath: "/bin/bash")
      process.arguments = ["-c", line]
      process.currentDirectoryURL = folder
      process.environment = environment
      let (output, errors) = (home.appending(path: "stdout"), home.appending(path: "stderr"))
      for file in [output, errors] { try Data().write(to: file) }
      process.standardInput = FileHandle.nullDevice
      process.standardOutput = try FileHandle(forWritingTo: output)
      process.standardError = try FileHandle(forWritingTo: errors)
      try process.run()
      process.waitUntilExit()
      return Outcome(
        exitCode: process.terminationStatus, output: String(decoding: try Data(contentsOf: output), as: UTF8.self),
        errors: String(decoding: try Data(contentsOf: errors), as: UTF8.self))
    }
  }
}

extension String {
  var lines: [String] { split(separator: "\n").map(String.init) }

  /// Whether the text is the pattern's, whose every `*` stands for anything.
  func matches(_ pattern: String) -> Bool {
    let parts = pattern.components(separatedBy: "*")
    guard parts.count > 1 else { return self == pattern }
    guard hasPrefix(parts[0]) else { return false }
    var rest = dropFirst(parts[0].count)
    for part in parts[1..<(parts.count - 1)] where !part.isEmpty {
      guard let found = rest.range(of: part) else { return false }
      rest = rest[found.upperBound...]
    }
    return rest.hasSuffix(parts[parts.count - 1])
  }
}

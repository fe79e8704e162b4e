import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

@Suite struct CrashTests {
  /// `AccessLogWriter` stands beside the test runner.
  private func writer(_ arguments: String...) throws -> Process {
    let runner = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let process = Process()
    process.executableURL = URL(filePath: runner).deletingLastPathComponent().appending(path: "AccessLogWriter")
    process.arguments = arguments
    return process
  }

  @Test(arguments: [("written", 40), ("written", 150), ("synced", 100)])
  func whatWasAcknowledgedBeforeAKillIsThere(_ durability: String, milliseconds: Int) async throws {
    try await withFolder { folder in
      let (process, output) = (try writer(folder.string, durability), Pipe())
      process.standardOutput = output
      try process.run()
      let reading = readingToEnd(of: output.fileHandleForReading)
      try await Task.sleep(for: .milliseconds(milliseconds + 100))
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
      let printed = String(decoding: await reading.value, as: UTF8.self)
      // The last line printed may be cut too; whole ones end with a newline.
      let acknowledged = try #require(printed.split(separator: "\n", omittingEmptySubsequences: false).dropLast().last)
      let count = try #require(UInt64(acknowledged))
      let (records, summary) = try readAll(folder)
      #expect(records.map(\.sequence) == (1...UInt64(max(1, records.count))).map { $0 })
      #expect(records.count >= count && records.count <= count + 2)
      #expect(summary.damaged.count <= 1 && summary.damaged.lines.allSatisfy { $0.damage == .torn })
    }
  }
}

import Foundation
import KMSCore
import Synchronization
import SystemPackage
import Testing

@testable import AccessLog

/// What copies have when a log ends, and what it says of those that have not all.
@Suite(.timeLimit(.minutes(2))) struct CopyEndTests {
  private func settings(_ folder: FilePath, _ target: LogCopyTarget) -> AccessLogSettings {
    var settings = AccessLogSettings(directory: folder)
    settings.copies = [target]
    return settings
  }

  private func lines(_ folder: FilePath) throws -> [String] {
    try files(in: folder).filter { LogFileName($0) != nil }.flatMap { name in
      try String(contentsOfFile: folder.appending(name).string, encoding: .utf8).split(separator: "\n").map(String.init)
    }
  }

  /// How many a record of the log says were lost; nil for any other.
  private func lost(_ line: String) -> Int? {
    guard line.contains(#""record":"copy""#) else { return nil }
    return line.firstMatch(of: /did not take (\d+) lines/).flatMap { Int($0.output.1) }
  }

  /// As a command does: it seals its log and is gone. The target is slow, and takes less at once than there is.
  @Test(arguments: ["", "signed"]) func aProcessThatEndsHasHandedOnAllOfIt(_ signed: String) async throws {
    try await withFolder { folder in
      let script = """
        { echo open; for i in $(seq 600); do echo log; done; echo seal; } |
          "$1" "$2/log" written steps 1 \(signed) "copy=sleep 0.3; cat >'$2/copy'" | grep -c ok
        """
      #expect(try await run(script, folder) == "602\n")  // and the copy's command has ended
      let copied = try String(contentsOfFile: folder.appending("copy").string, encoding: .utf8)
      let log = try lines(folder.appending("log"))
      #expect(copied.utf8.count > 100_000 && log.count == (signed.isEmpty ? 600 : 603))
      #expect(copied.split(separator: "\n").map(String.init) == log)
    }
  }

  /// It is told at once, then not for each line, and at the end of all that is left.
  @Test(arguments: [false, true]) func oneThatNeverTakesALineIsTold(_ isSigned: Bool) async throws {
    try await withFolder { folder in
      let start = ContinuousClock.now
      let told = Mutex<[AccessEvent]>([])
      let test = try await TestSigner()
      let log = try AccessLogFile(
        settings(folder, .syslog(socket: "/nonexistent")), signer: isSigned ? test.signer : nil
      ) { event in told.withLock { $0.append(event) } }
      try await log.report(AccessEvent(.wrap))
      for _ in 0..<1000 where told.withLock({ $0.isEmpty }) { try await Task.sleep(for: .milliseconds(10)) }
      let first = try #require(told.withLock { $0.first })
      #expect(first.operation == .logCopy && first.errorCode == .accessLogUnavailable)
      for _ in 0..<50 { try await log.report(AccessEvent(.wrap)) }
      await log.seal()
      let all = try lines(folder)
      let counts = all.compactMap { lost($0) }
      let minutes = Int((ContinuousClock.now - start) / .seconds(60))
      #expect(counts.count >= 2 && counts.count <= minutes + 2)
      #expect(counts.reduce(0, +) == all.lastIndex { lost($0) != nil })  // every line before it
      // What became of the log's end begins no other.
      await log.close()
      #expect(try files(in: folder).count { LogFileName($0) != nil } == 1)
      if isSigned { #expect(try test.verify(folder, now: .now().advanced(by: .seconds(7200))).findings == []) }
    }
  }

  /// What it has not taken by then counts as lost, and is not waited for again.
  @Test func theEndDoesNotWaitForEver() async throws {
    try await withFolder { folder in
      let script = "echo $$ >'\(folder)/pid'; exec sleep 600 >&- 2>&-"  // reads nothing
      let log = try AccessLogFile(settings(folder.appending("log"), .command(script)))
      let long = Access(contextNames: (0..<20).map { "\($0)" + String(repeating: "x", count: 400) })
      try await log.report((0..<50).map { _ in AccessEvent(.wrap, access: long) })
      for _ in 0..<50 { try await log.report(AccessEvent(.wrap, access: long)) }
      await log.close()
      let slow = try String(contentsOfFile: folder.appending("pid").string, encoding: .utf8).dropLast()
      #expect(try String(contentsOfFile: "/proc/\(slow)/cmdline", encoding: .utf8).hasPrefix("sleep"))
      if let id = pid_t(slow) { kill(id, SIGKILL) }
      let last = try #require(try lines(folder.appending("log")).last)
      #expect((1...100).contains(lost(last) ?? 0))
    }
  }
}

import DurableFiles
import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

/// Sealed logs of real processes: killed, many at once, and one that says nothing for long.
@Suite(.timeLimit(.minutes(3))) struct SealedProcessTests {
  private func verify(_ folder: FilePath, _ store: SigningStore) throws -> LogVerification {
    try LogVerifier(directory: folder, keys: [store.key], patience: .seconds(3600)).verify()
  }

  /// - Parameter torn: what the kernel had taken of a record when the machine stopped; a kill alone tears none.
  @Test(arguments: ["", #"{"timestamp":"2026-11-2"#])
  func aKilledWritersLogIsClosedByTheNextStartAndIsGood(torn: String) async throws {
    try await withFolder { outer in
      let (store, folder) = (try await SigningStore(in: outer), outer.appending("log"))
      let (process, output) = (
        try logWriter(folder.string, "written", "", "1", "signed", "keystore=\(store.path)"), Pipe()
      )
      process.standardOutput = output
      try process.run()
      let reading = readingToEnd(of: output.fileHandleForReading)
      // Two checkpoints, and some more.
      func size() throws -> Int64 {
        try files(in: folder).first.flatMap { try FileStatus(folder.appending($0)) }?.size ?? 0
      }
      while ((try? size()) ?? 0) < 2300 * 400, process.isRunning { try await Task.sleep(for: .milliseconds(20)) }
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
      let printed = String(decoding: await reading.value, as: UTF8.self)
      let acknowledged = try #require(printed.split(separator: "\n", omittingEmptySubsequences: false).dropLast().last)
      let left = try #require(try files(in: folder).first { LogFileName($0) != nil })
      let path = folder.appending(left)
      let before = try path.bytes
      if !torn.isEmpty { try path.put(before + Array(torn.utf8)) }
      // A log that nobody writes and has no end is no sound one.
      #expect(
        !(try LogVerifier(
          directory: folder, keys: [store.key], now: Timestamp.now().advanced(by: .seconds(600))
        ).verify().findings.isEmpty))

      let log = try AccessLogFile(AccessLogSettings(directory: folder), signer: store.signer)
      try await log.report(AccessEvent(.health))
      await log.close()
      let result = try verify(folder, store)
      #expect(result.findings == [] && result.logs == 2)
      let (records, summary) = try readAll(folder)
      #expect(records.count { $0.requestID != nil } >= Int(acknowledged) ?? .max && summary.damaged.count == 0)
      let end = try await content(folder, try #require(try files(in: folder).first { $0.hasPrefix(left) }))
        .split(separator: "\n").suffix(2)
      #expect(end.first?.contains("its writer died") == true && end.last?.contains("checkpoint") == true)
      #expect(end.first?.contains("torn") == !torn.isEmpty)
    }
  }

  @Test func manyProcessesLogIntoOneFolderAtOnce() async throws {
    try await withFolder { outer in
      let (store, folder) = (try await SigningStore(in: outer), outer.appending("log"))
      let writers = try (0..<6).map { _ in
        let writer = try logWriter(folder.string, "written", "3000", "2", "signed", "keystore=\(store.path)")
        writer.standardOutput = FileHandle.nullDevice
        return writer
      }
      for writer in writers { try writer.run() }
      for writer in writers {
        while writer.isRunning { try await Task.sleep(for: .milliseconds(20)) }
        #expect(writer.terminationStatus == 0)
      }
      let result = try verify(folder, store)
      #expect(result.findings == [] && result.logs == 6)
      let (records, summary) = try readAll(folder)
      #expect(records.count { $0.operation == .unwrap } == 6 * 3000 && summary.damaged.count == 0)
    }
  }

  @Test func aLogThatHasNothingToSayShowsThatItLives() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      var settings = AccessLogSettings(directory: folder)
      settings.heartbeat = .milliseconds(50)
      let log = try AccessLogFile(settings, signer: test.signer)
      func lines() async throws -> [String] {
        let name = try #require(try files(in: folder).first { LogFileName($0) != nil })
        return try await content(folder, name).split(separator: "\n").map(String.init)
      }
      while try await lines().count(where: { $0.hasPrefix(#"{"checkpoint""#) }) < 3 {
        try await Task.sleep(for: .milliseconds(20))
      }
      let seen = try await lines()
      #expect(seen.count { $0.contains(#""record":"heartbeat""#) } >= 3)
      await log.close()
      #expect(try test.verify(folder).findings == [])
    }
  }
}

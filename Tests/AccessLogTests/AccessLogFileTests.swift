import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

@Suite struct AccessLogFileTests {
  @Test func makesPrivateFolderAndFile() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(AccessLogSettings(directory: folder.appending("a/log")))
      try await log.report(AccessEvent(.health))
      let inner = folder.appending("a/log")
      let name = try #require(try files(in: inner).first)
      func mode(_ path: FilePath) throws -> Int {
        try #require(FileManager.default.attributesOfItem(atPath: path.string)[.posixPermissions] as? Int)
      }
      #expect(try mode(inner) == 0o700 && mode(inner.appending(name)) == 0o600)
      await log.close()
      #expect(try mode(inner.appending(name)) == 0o400)
      #expect(LogFileName(name) != nil && name.hasSuffix("-\(getpid()).jsonl"))
    }
  }

  @Test(arguments: AccessLogSettings.Durability.allCases)
  func manyCallersGetContiguousSequences(_ durability: AccessLogSettings.Durability) async throws {
    let each = durability == .written ? 500 : 20
    try await withFolder { folder in
      let log = try AccessLogFile(AccessLogSettings(directory: folder, rotateAt: 1 << 20, durability: durability))
      try await withThrowingTaskGroup { group in
        for task in 0..<16 {
          group.addTask {
            for i in 0..<each {
              try await log.report(AccessEvent(.wrap, access: Access(principal: "\(task)", requestID: "\(i)")))
            }
          }
        }
        try await group.waitForAll()
      }
      await log.close()
      var lines: [AccessRecord] = []
      for name in try files(in: folder) {
        for line in try await content(folder, name).split(separator: "\n") {
          lines.append(try #require(AccessRecord(line: Array(line.utf8)[...])))
        }
      }
      #expect(lines.map(\.sequence) == (1...UInt64(16 * each)).map { $0 })
      for task in 0..<16 {
        let own = lines.filter { $0.accessedBy == "\(task)" }
        #expect(own.map(\.requestID) == (0..<each).map { "\($0)" })
      }
    }
  }

  @Test func beginsANewFileAtTheSizeAndCountsOn() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(AccessLogSettings(directory: folder, rotateAt: 4096))
      for _ in 0..<100 { try await log.report(AccessEvent(.wrap)) }
      await log.close()
      let names = try files(in: folder)
      #expect(names.count > 2)
      for name in names.dropLast() { #expect((4096..<4500).contains(try await content(folder, name).utf8.count)) }
      #expect(try readAll(folder).records.map(\.sequence) == Array(1...100))
    }
  }

  @Test func writersShareAFolder() async throws {
    try await withFolder { folder in
      let logs = try (0..<3).map { _ in try AccessLogFile(AccessLogSettings(directory: folder)) }
      for i in 0..<30 { try await logs[i % 3].report(AccessEvent(.wrap, access: Access(requestID: "\(i)"))) }
      #expect(try files(in: folder).count == 3)
      #expect(try readAll(folder).records.map(\.requestID) == (0..<30).map { "\($0)" })
    }
  }

  @Test func afterCloseItIsUnavailable() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(AccessLogSettings(directory: folder))
      await log.close()
      await log.close()
      await #expect(throws: KMSError(.accessLogUnavailable, "")) { try await log.report(AccessEvent(.wrap)) }
    }
  }

  /// Or the next start would take it for one that is written still. The deadline of its events is no reason to keep it.
  @Test(.timeLimit(.minutes(1))) func oneThatWasDroppedLetsGoOfItsFile() async throws {
    try await withFolder { folder in
      var log: AccessLogFile? = try AccessLogFile(AccessLogSettings(directory: folder, deadline: .seconds(3600)))
      try await log?.report(AccessEvent(.health))
      let path = folder.appending(try #require(try files(in: folder).first))
      let file = try FileDescriptor.open(path, .readOnly)
      defer { try? file.close() }
      #expect(flock(file.rawValue, LOCK_EX | LOCK_NB) != 0)
      log = nil
      while flock(file.rawValue, LOCK_EX | LOCK_NB) != 0 { try await Task.sleep(for: .milliseconds(5)) }
    }
  }

  @Test func reportsThoughTheTaskIsCancelled() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(AccessLogSettings(directory: folder))
      let task = Task {
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }  // its own, for the call
        try await log.report(AccessEvent(.wrap))
      }
      try await task.value
      #expect(try readAll(folder).records.count == 1)
    }
  }

  @Test func wrongSettingsAreRefused() throws {
    for settings in [
      AccessLogSettings(directory: ""), AccessLogSettings(directory: "/tmp/x", rotateAt: 0),
      AccessLogSettings(directory: "/tmp/x", deadline: .zero),
      AccessLogSettings(directory: "/tmp/x", keep: .seconds(-1)),
    ] {
      #expect(throws: KMSError(.configurationInvalid, "")) { try AccessLogFile(settings) }
    }
    #expect(throws: KMSError(.accessLogUnavailable, "")) {
      try AccessLogFile(AccessLogSettings(directory: "/dev/null/log"))
    }
  }

  @Test func holdsNamesOfTheContextOnly() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(AccessLogSettings(directory: folder))
      let provider = AccessLoggedProvider(Puppet(), reporter: log).accessed(by: Access(contextNames: ["patient"]))
      let marker = Array("SECRETSECRETSECRETSECRETSECRET!!".utf8)
      _ = try await provider.wrap(SecretBytes(copying: marker.span), under: .make(), aad: Array("VALUE-4711".utf8))
      await log.close()
      let text = try await content(folder, try #require(try files(in: folder).first))
      #expect(text.contains(#""context_names":["patient"]"#))
      #expect(!text.contains("SECRET") && !text.contains("VALUE"))
      #expect(text.contains(#""success":true"#))
    }
  }
}

import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

@Suite struct FollowTests {
  /// Of a folder where many commands were, and their small files are never packed.
  @Test func whatHasEndedIsNotHeldOpen() async throws {
    try await withFolder { folder in
      func held() throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count {
          (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)"))?.hasPrefix(folder.string)
            == true
        }
      }
      func command(_ number: Int) async throws {
        let log = try AccessLogFile(AccessLogSettings(directory: folder))
        try await log.report(AccessEvent(.wrap, access: Access(requestID: "\(number)")))
        await log.close()
      }
      for i in 0..<20 { try await command(i) }
      var follower = try LogFollower(directory: folder)
      #expect(try held() == 0)
      var seen: [String] = []
      for i in 20..<40 {
        try await command(i)
        if i % 5 == 0 { try follower.poll { record, _ in seen.append(record.requestID ?? "") } }
      }
      try follower.poll { record, _ in seen.append(record.requestID ?? "") }
      #expect(try seen == (20..<40).map { "\($0)" } && held() == 0)
      try follower.poll { _, _ in Issue.record("nothing is given twice") }
      // One that cannot be read is told.
      let name = LogFileName(started: .now(), process: 1).description
      try FileManager.default.createDirectory(atPath: folder.appending(name).string, withIntermediateDirectories: false)
      let error = #expect(throws: KMSError.self) { try follower.poll { _, _ in } }
      #expect(error?.code == .fileFailed)
    }
  }

  @Test func nothingIsMissedWhenFilesAreBegun() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(AccessLogSettings(directory: folder, rotateAt: 20_000))
      try await log.report(AccessEvent(.health))  // before: passed over
      var follower = try LogFollower(directory: folder)
      var seen: [String] = []
      for i in 0..<600 {
        try await log.report(AccessEvent(.wrap, access: Access(requestID: "\(i)")))
        if i % 37 == 0 { try follower.poll { record, _ in seen.append(record.requestID ?? "") } }
      }
      await log.close()
      try follower.poll { record, _ in seen.append(record.requestID ?? "") }
      #expect(try files(in: folder).count > 5)
      #expect(seen.sorted() == (0..<600).map { "\($0)" }.sorted())
      try follower.poll { _, _ in Issue.record("nothing is given twice") }
    }
  }
}

import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

@Suite struct FollowTests {
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

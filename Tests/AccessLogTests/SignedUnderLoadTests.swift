import InMemoryProvider
import KMSCore
import SystemPackage
import TestSupport
import Testing

@testable import AccessLog

/// A signed log that many write to, while it needs the tree of all its records: for a heartbeat's checkpoint, a new file
/// and its end.
@Suite struct SignedUnderLoadTests {
  private let event = AccessEvent(.unwrap, provider: "hsm", access: Access(principal: "billing"))

  private func settings(_ folder: FilePath, heartbeat: Duration = .seconds(60)) -> AccessLogSettings {
    var settings = AccessLogSettings(directory: folder, rotateAt: 64 << 10, deadline: .seconds(20))
    settings.heartbeat = heartbeat
    return settings
  }

  @Test(.timeLimit(.minutes(2))) func heartbeatsAndNewFilesBetweenCallers() async throws {
    try await withFolder { folder in
      let signer = try await TestSigner()
      let log = try AccessLogFile(settings(folder, heartbeat: .milliseconds(10)), signer: signer.signer)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<4 {
          group.addTask { for _ in 0..<3000 { try await log.report(event) } }
        }
        try await group.waitForAll()
      }
      await log.close()
      let result = try signer.verify(folder)
      #expect(result.isSound, "\(result.findings.prefix(3))")
      #expect(result.records >= 12_000)
    }
  }

  @Test(.timeLimit(.minutes(2)), arguments: [AccessLogSettings.Durability.written, .synced])
  func endedWhileEventsComeIn(_ durability: AccessLogSettings.Durability) async throws {
    try await withFolder { folder in
      let signer = try await TestSigner()
      var settings = settings(folder)
      settings.durability = durability
      let log = try AccessLogFile(settings, signer: signer.signer)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<6 {
          group.addTask { for _ in 0..<100 { try await log.report(event) } }
        }
        group.addTask { for _ in 0..<20 { await log.seal() } }
        try await group.waitForAll()
      }
      await log.close()
      let result = try signer.verify(folder)
      #expect(result.isSound, "\(result.findings.prefix(3))")
      #expect(result.records >= 600)
    }
  }
}

import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

@testable import AccessLog

/// Where a write can be held up by others for as long as they like, no caller is: the log's own thread writes.
@Suite struct StalledTargetTests {
  private func fails(_ log: AccessLogFile, callers: Int) async {
    let clock = ContinuousClock()
    await withTaskGroup { group in
      for _ in 0..<callers {
        group.addTask {
          let start = clock.now
          await #expect(throws: KMSError(.accessLogUnavailable, "")) { try await log.report(AccessEvent(.unwrap)) }
          #expect(clock.now - start >= .milliseconds(190))
        }
      }
    }
  }

  private func goesOn(_ log: AccessLogFile) async throws {
    for _ in 0..<100 where (try? await log.report(AccessEvent(.health))) == nil {
      try await Task.sleep(for: .milliseconds(50))
    }
    try await log.report(AccessEvent(.health))
  }

  /// - Parameter mayBlock: false: as a disk of this machine, that nobody expects to stand. The first caller writes, and
  ///   its thread is stuck.
  @Test(.timeLimit(.minutes(1)), arguments: [true, false]) func aFIFOThatNobodyReads(_ mayBlock: Bool) async throws {
    try await withFolder { folder in
      let path = folder.appending("fifo")
      #expect(try await runProcess("/usr/bin/mkfifo", [path.string]).status == 0)
      // Open for both, so that opening does not wait. It is full from the start.
      let fifo = try FileDescriptor.open(path, .readWrite, options: .closeOnExec)
      _ = fcntl(fifo.rawValue, F_SETFL, O_NONBLOCK)
      let filler = [UInt8](repeating: 0x20, count: 4096)
      var filled = 0
      while let count = try? writeBytes(filler, from: 0, to: fifo) { filled += count }
      _ = fcntl(fifo.rawValue, F_SETFL, 0)
      let reader = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
      let log = try AccessLogFile(
        AccessLogSettings(directory: folder.appending("log"), deadline: .milliseconds(200)),
        takingOwnershipOf: fifo, mayBlock: mayBlock)
      await fails(log, callers: 1)
      await fails(log, callers: 5)
      await fails(log, callers: 5)
      let reading = Task {
        try await onThread {
          var (seen, chunk) = ([UInt8](), [UInt8](repeating: 0, count: 1 << 16))
          while !String(decoding: seen.suffix(4000), as: UTF8.self).contains("health") {
            let count = try unsafe chunk.withUnsafeMutableBytes { try unsafe reader.read(into: $0) }  // for the call
            seen += chunk[..<count]
          }
          return seen
        }
      }
      try await goesOn(log)
      let seen = try await reading.value
      #expect(filled > 4096 && seen.count > filled)
      // Those that were refused before they were on their way never came.
      let lines = seen.dropFirst(filled).split(separator: 0x0A)
      #expect(lines.count { contains($0, Array("unwrap".utf8)) } <= 5)
      await log.close()
      try reader.close()
    }
  }
}

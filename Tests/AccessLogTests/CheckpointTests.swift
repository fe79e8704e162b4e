import CryptoPrimitives
import Foundation
import KMSCore
import Synchronization
import SystemPackage
import Testing

@testable import AccessLog

/// A checkpoint at each 1,000 records, at the boundary and once, whoever writes.
@Suite struct CheckpointTests {
  /// Sizes of the checkpoints in a folder's only log, in order, and how many records it has.
  private func checkpoints(_ folder: FilePath) async throws -> (sizes: [UInt64], records: UInt64) {
    var sizes: [UInt64] = []
    var records: UInt64 = 0
    for name in try logFiles(folder) {
      for line in try await content(folder, name).split(separator: "\n") {
        if let note = EventLine.note(in: Array(line.utf8)[...]) {
          sizes.append(try #require(Checkpoint(text: note.text)).size)
        } else {
          records += 1
        }
      }
    }
    return (sizes, records)
  }

  private func logFiles(_ folder: FilePath) throws -> [String] {
    try files(in: folder).filter { LogFileName($0) != nil }
  }

  @Test(arguments: [(1, 3000), (2, 2500), (8, 700)])
  func onceAtEveryThousand(_ callers: Int, _ each: Int) async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      // Files are begun meanwhile, whose first records count too.
      let log = try AccessLogFile(AccessLogSettings(directory: folder, rotateAt: 300_000), signer: test.signer)
      try await withThrowingTaskGroup { group in
        for caller in 0..<callers {
          group.addTask {
            for i in 0..<each {
              try await log.report(AccessEvent(.wrap, access: Access(principal: "\(caller)", requestID: "\(i)")))
            }
          }
        }
        try await group.waitForAll()
      }
      await log.close()
      let (sizes, records) = try await checkpoints(folder)
      #expect(records > UInt64(callers * each))
      #expect(sizes == stride(from: 1000, to: records, by: 1000) + [records])
      #expect(try test.verify(folder).findings == [])
    }
  }

  /// Whoever wrote the thousandth record may be held up before it says so.
  @Test func oneThatComesLateStandsInOrderOrNotAtAll() async throws {
    let test = try await TestSigner()
    let signing = CheckpointSigning(test.signer) { _ in }
    let written = Mutex<[UInt64]>([])
    func sign(_ sizes: [UInt64], _ origin: String = "access-log/a") async {
      signing.sign(sizes.map { Checkpoint(origin: origin, size: $0, root: TreeHasher.empty) }) { lines in
        let note = lines.first.flatMap { EventLine.note(in: $0.bytes.dropLast()) }
        written.withLock { $0.append(note.flatMap { Checkpoint(text: $0.text) }?.size ?? 0) }
        return true
      }
      await signing.finish()
    }
    await sign([1003, 1000, 2000])
    await sign([1500, 2000])
    await sign([2060])
    await sign([1000, 3000], "access-log/b")
    #expect(written.withLock { $0 } == [1000, 1003, 2000, 2060, 1000, 3000])
  }

  /// The last record and its checkpoint are the log's end: none that is due by it comes after, in a log of its own.
  @Test func theThousandthThatIsTheLast() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = try AccessLogFile(AccessLogSettings(directory: folder), signer: test.signer)
      try await log.report((0..<998).map { _ in AccessEvent(.wrap) })  // and the file's first record
      await log.seal()
      await log.close()  // waits for what is to be signed
      #expect(try logFiles(folder).count == 1)
      #expect(try await checkpoints(folder).sizes == [1000])
      #expect(try test.verify(folder, now: .now().advanced(by: .seconds(7200))).findings == [])
    }
  }

  /// What is late for a log that ended, and what the log says of itself.
  @Test func whatBeginsNoLog() async throws {
    try await withFolder { folder in
      let tree = LogTree(keyName: "access-log")
      var writer = try LineWriter(AccessLogSettings(directory: folder), tree: tree)
      var late = EventLine(AccessEvent(.sign))
      late.origin = tree.origin
      try writer.end("closed")?.file.close()
      for line in [late, .heartbeat(), .copiesLost(EventLine.copiesLost(1, "a target"))] {
        var lines = [(ticket: UInt64(1), line: line)]
        try writer.write(&lines, now: monotonicNanoseconds())
        let isOpen = writer.isOpen
        #expect(!isOpen)
      }
      var lines = [EventLine(AccessEvent(.wrap)), late, .heartbeat()].map { (ticket: UInt64(1), line: $0) }
      try writer.write(&lines, now: monotonicNanoseconds())
      let isOpen = writer.isOpen
      #expect(isOpen && lines.count == 2)
      #expect(try logFiles(folder).count == 2)
    }
  }

  @Test func notBeforeTheThousandth() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = try AccessLogFile(AccessLogSettings(directory: folder), signer: test.signer)
      func sizes() async throws -> [UInt64] { try await checkpoints(folder).sizes }
      for _ in 0..<998 { try await log.report(AccessEvent(.wrap)) }  // and the file's first record
      try await Task.sleep(for: .milliseconds(50))
      #expect(try await sizes() == [])
      try await log.report(AccessEvent(.wrap))
      for _ in 0..<200 where try await sizes().isEmpty { try await Task.sleep(for: .milliseconds(10)) }
      #expect(try await sizes() == [1000])
      await log.close()
    }
  }
}

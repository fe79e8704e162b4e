import DurableFiles
import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

/// Whoever can write to the folder gets nothing signed by leaving it to those who tidy up.
@Suite struct UpkeepTamperTests {
  private func logFiles(_ folder: FilePath) throws -> [FilePath] {
    try files(in: folder).filter { LogFileName($0) != nil }.map { folder.appending($0) }
  }

  private func edit(_ path: FilePath, _ body: (inout [[UInt8]]) throws -> Void) throws {
    var lines = try path.lines
    try body(&lines)
    try path.put(lines.joined())
  }

  private func replace(_ old: String, _ new: String, in line: inout [UInt8]) {
    line = Array(String(decoding: line, as: UTF8.self).replacing(old, with: new).utf8)
  }

  private func start(_ folder: FilePath, _ test: TestSigner) async {
    await CrashedLogs(directory: folder, signer: test.signer, durability: .written).close()
  }

  private let late = Timestamp.now().advanced(by: .seconds(7200))

  typealias Tamper = @Sendable (inout [[UInt8]]) -> Void

  /// As if the writer had been killed: what it did at its end is gone, or not yet there.
  static let ways: [(name: String, tamper: Tamper)] = [
    ("a changed record, no last checkpoint", { lines in lines.removeLast() }),
    ("a changed record, no end", { lines in lines.removeLast(2) }),
    ("cut back", { lines in lines.removeSubrange(20...) }),
    (
      "ended as by another start",
      { lines in
        lines.removeLast()
        let end = String(decoding: lines.last!, as: UTF8.self)
        lines[lines.count - 1] = Array(
          end.replacing(#""reason":"closed""#, with: #""reason":"its writer died; closed at the next start""#).utf8)
      }
    ),
  ]

  /// The first of two logs, which ended in order before the second began.
  @Test(arguments: ways.indices) func aLogThatHasEndedIsNotEndedAnew(_ way: Int) async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      for _ in 0..<2 { try await writeLog(folder, test, events: 30) }
      #expect(try test.verify(folder).findings == [])
      let log = try logFiles(folder)[0]
      try edit(log) { lines in
        replace("billing", "nobody!", in: &lines[10])
        Self.ways[way].tamper(&lines)
      }
      await start(folder, test)
      let result = try test.verify(folder, now: late)
      #expect(result.kinds.contains("cut"), "\(Self.ways[way].name)")
      #expect(try FileStatus(log)?.isWritable == false)  // and is not looked at again
      let bytes = try log.bytes
      await start(folder, test)
      #expect(try log.bytes == bytes)
    }
  }

  /// What nobody has signed yet can be changed still, but not unseen: another than its writer ends the log.
  @Test func whoEndsAnothersLogSaysSo() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 30)
      try edit(try logFiles(folder)[0]) { lines in
        replace("billing", "nobody!", in: &lines[10])
        lines.removeLast()
      }
      try edit(folder.appending(WriterIndex.name)) { $0.removeLast() }
      #expect(try test.verify(folder, now: late).kinds == ["missing-checkpoint"])
      await start(folder, test)
      let result = try test.verify(folder, now: late)
      #expect(result.findings == [] && result.crashed == 1 && result.json.contains(#""crashed":1"#))
      // And not again: how it ended is in the index, and what follows there is signed with it.
      try await writeLog(folder, test, events: 1)
      try edit(try logFiles(folder)[0]) { $0.removeLast() }
      await start(folder, test)
      #expect(try test.verify(folder, now: late).kinds.contains("missing-checkpoint"))
    }
  }

  /// Whoever ended the log died before he said so in the index, or somebody took the line away.
  @Test func theIndexHasTheEndOfEachLog() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 3)
      let (log, index) = (try logFiles(folder)[0], folder.appending(WriterIndex.name))
      let whole = try index.bytes
      try edit(index) { $0.removeLast() }
      #expect(try test.verify(folder).findings == [])  // it may come still
      #expect(try test.verify(folder, now: late).kinds == ["index"])
      await start(folder, test)
      #expect(try test.verify(folder, now: late).kinds == ["index"])
      try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: log.string)
      await start(folder, test)
      #expect(try index.bytes == whole && FileStatus(log)?.isWritable == false)
      #expect(try test.verify(folder, now: late).findings == [])
    }
  }

  /// A folder is not copied in one moment: the log's file before its end, the index after it.
  @Test func aCopyWhoseIndexIsLaterIsSound() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = try AccessLogFile(AccessLogSettings(directory: folder.appending("log")), signer: test.signer)
      try await log.report(AccessEvent(.wrap))
      let copy = folder.appending("copy")
      try FileManager.default.copyItem(atPath: folder.appending("log").string, toPath: copy.string)
      await log.close()
      try copy.appending(WriterIndex.name).put(folder.appending("log").appending(WriterIndex.name).bytes)
      #expect(try test.verify(copy).findings == [] && test.verify(copy).open == 1)
      #expect(try test.verify(copy, now: late).kinds == ["cut"])
    }
  }

  /// Nor is it verified in one moment: a log may have been begun between the index and the files, whichever came first.
  @Test func aLogThatBeginsMeanwhileIsNoFinding() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let (whole, index) = (folder.appending("log"), WriterIndex.name)
      try await writeLog(whole, test, events: 3)
      let before = folder.appending("before")
      try FileManager.default.copyItem(atPath: whole.string, toPath: before.string)
      try await writeLog(whole, test, events: 3)
      let earlier = try before.appending(index).bytes
      // The second log's line, and no file of it.
      try before.appending(index).put(whole.appending(index).bytes)
      #expect(try test.verify(before).findings == [] && test.verify(before).open == 1)
      #expect(try test.verify(before, now: late).kinds == ["missing-log"])
      // Its file, and no line.
      try whole.appending(index).put(earlier)
      #expect(try test.verify(whole).findings == [])
      #expect(try test.verify(whole, now: late).kinds == ["index"])
    }
  }

  private let old = Timestamp(rfc3339: "2024-01-01T00:00:00Z")!

  private func line(_ type: AccessEvent.RecordType, _ sequence: UInt64, _ fields: [(StaticString, String)]) -> [UInt8] {
    var line: [UInt8] = []
    EventLine(
      AccessEvent(.init(rawValue: "log-file"), timestamp: old, access: EventLine.own), type: type, fields: fields
    )
    .write(sequence: sequence, to: &line)
    return line
  }

  /// A file that says it is a log's, all of it, and old: deleting it would put the real one's deletion on record.
  @Test(arguments: ["end", "heartbeat"]) func aFileThatNobodySignedIsNotDeletedAsALogs(_ type: String) async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 30)
      let real = try logFiles(folder)[0]
      let introduction = try #require(try FileIntroduction(of: real))
      let count = try #require(AccessRecord(line: real.lines.dropLast().last!.dropLast())).sequence
      let fake = LogFileName(started: old, process: 1).description
      let fields: [(StaticString, String)] = [
        (#","log":"#, introduction.origin), (#","file":"#, fake), (#","tree":"#, "0"),
      ]
      let path = folder.appending(fake)
      try path.put(line(.file, 1, fields) + line(.init(rawValue: type), count, []))
      try FileManager.default.setAttributes(
        [.modificationDate: Date(timeIntervalSince1970: 1_704_067_200), .posixPermissions: 0o400],
        ofItemAtPath: path.string)
      await OldFiles(AccessLogSettings(directory: folder, keep: .seconds(3600))).delete(test.signer)
      #expect(try FileStatus(folder.appending(RemovedFile.name)) == nil && FileStatus(path) != nil)
      try FileManager.default.removeItem(atPath: real.string)
      #expect(try !test.verify(folder, now: late).isSound)
    }
  }

  /// The evidence stays, and nothing is signed about it.
  @Test func aFileThatWasChangedIsNotDeleted() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 400, rotateAt: 20_000)
      let logs = try logFiles(folder)
      try edit(logs[0]) { replace("billing", "nobody!", in: &$0[10]) }
      for log in logs {
        try FileManager.default.setAttributes(
          [.modificationDate: Date(timeIntervalSinceNow: -86_400)], ofItemAtPath: log.string)
      }
      await OldFiles(AccessLogSettings(directory: folder, keep: .zero)).delete(test.signer)
      // Nor are those after it, or it would stand before a gap.
      #expect(try logFiles(folder) == logs && FileStatus(folder.appending(RemovedFile.name)) == nil)
    }
  }

  /// As was signed without looking, once.
  @Test func aDeletionThatCannotHaveBeenIsFound() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 30)
      try await writeLog(folder, test, events: 1)
      let real = try logFiles(folder)[0]
      let introduction = try #require(try FileIntroduction(of: real))
      let other = LogFileName(started: old, process: 1).description
      try FileManager.default.removeItem(atPath: real.string)
      for (file, until) in [(introduction.file, old), (other, Timestamp.now()), (introduction.file, .now())] {
        let entry = RemovedFile(
          origin: introduction.origin, file: file, first: 1, last: 33, isEnd: true, until: until, removed: .now(),
          keepSeconds: 0)
        let list = folder.appending(RemovedFile.name)
        try list.put([])
        try RemovedFile.record(try await test.signer.sign(entry.text), in: folder)
        let isPossible = file == introduction.file && until > old
        #expect(try test.verify(folder, now: late).kinds == (isPossible ? [] : ["removal", "missing-log"]))
      }
    }
  }

  /// Of a log that was left before its end: what its own checkpoints do not cover as it stands is not signed.
  @Test(arguments: [true, false]) func whatACheckpointDoesNotBearOutIsNotSigned(_ isCut: Bool) async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = try AccessLogFile(AccessLogSettings(directory: folder.appending("log")), signer: test.signer)
      for _ in 0..<11 { try await log.report((0..<100).map { _ in AccessEvent(.wrap) }) }
      let path = try #require(try logFiles(folder.appending("log")).first)
      for _ in 0..<1000 where try !path.bytes.contains("checkpoint of 1000") {
        try await Task.sleep(for: .milliseconds(10))
      }
      let copy = folder.appending("copy")
      try FileManager.default.copyItem(atPath: folder.appending("log").string, toPath: copy.string)
      await log.close()
      let left = try #require(try logFiles(copy).first)
      try edit(left) { lines in
        if isCut { lines.remove(at: 500) } else { replace("wrap", "sign", in: &lines[500]) }
      }
      let bytes = try left.bytes
      await start(copy, test)
      #expect(try left.bytes == bytes)
      #expect(try test.verify(copy, now: late).kinds.isSuperset(of: ["cut"]))
    }
  }
}

extension [UInt8] {
  fileprivate func contains(_ text: String) -> Bool { AccessLog.contains(self[...], Array(text.utf8)) }
}

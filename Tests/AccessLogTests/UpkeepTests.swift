import CryptoPrimitives
import DurableFiles
import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

/// Files are compressed and deleted after their time, and what a crash left is closed; the log stays sound.
@Suite struct UpkeepTests {
  private func logFiles(_ folder: FilePath) throws -> [String] {
    try files(in: folder).filter { $0.hasPrefix("access-2") }
  }

  /// As if its last record were so old.
  private func age(_ path: FilePath, _ days: Double) throws {
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSinceNow: -days * 86_400)], ofItemAtPath: path.string)
  }

  @Test func compressedFilesReadTheSameAndZcatReadsThem() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 450, rotateAt: 100_000)
      let before = try readAll(folder).records
      OldFiles(AccessLogSettings(directory: folder)).compress()
      let names = try logFiles(folder)
      #expect(names.contains { $0.hasSuffix(".jsonl.gz") } && names.contains { $0.hasSuffix(".jsonl") })
      #expect(try readAll(folder).records == before)
      #expect(try test.verify(folder).findings == [])
      let name = try #require(names.first { $0.hasSuffix(".gz") })
      let packed = folder.appending(name)
      let text = try await content(folder, name)
      #expect(text.hasPrefix(#"{"timestamp":""#) && text.hasSuffix("}\n"))
      // A packed file that was cut is damage, not an end.
      try packed.put(packed.bytes.dropLast(9))
      #expect(try test.verify(folder).kinds.contains("unreadable"))
      #expect(throws: KMSError(.fileFailed, "")) { try readAll(folder) }
    }
  }

  @Test func aFinishedFileIsCompressedWhileTheLogGoesOn() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let settings = AccessLogSettings(directory: folder, rotateAt: 70_000)
      let log = try AccessLogFile(settings, signer: test.signer)
      for _ in 0..<20 { try await log.report((0..<40).map { _ in AccessEvent(.wrap) }) }
      while try !logFiles(folder).contains(where: { $0.hasSuffix(".gz") }) {
        try await Task.sleep(for: .milliseconds(10))
      }
      try await log.report(AccessEvent(.wrap))
      await log.close()
      #expect(try readAll(folder).records.count == 801)
      #expect(try test.verify(folder).findings == [])
    }
  }

  @Test func aNewFileIsBegunWhenTheOldOneHasItsAge() async throws {
    try await withFolder { folder in
      var settings = AccessLogSettings(directory: folder)
      settings.rotateAfter = .seconds(1)
      let log = try AccessLogFile(settings)
      try await log.report(AccessEvent(.wrap))
      try await Task.sleep(for: .milliseconds(1100))
      try await log.report(AccessEvent(.unwrap))
      await log.close()
      #expect(try logFiles(folder).count == 2)
      #expect(try readAll(folder).records.map(\.sequence) == [1, 2])
    }
  }

  @Test func filesAreDeletedAfterTheirTimeOnlyAndTheLogStaysSound() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 30)
      try await writeLog(folder, test, events: 400, rotateAt: 20_000)
      let names = try logFiles(folder)
      #expect(names.count >= 5)
      var settings = AccessLogSettings(directory: folder, keep: .seconds(3600))
      func delete() async { await OldFiles(settings).delete(test.signer) }
      // The file's own time alone does not delete it: its last record is young.
      for name in names { try age(folder.appending(name), 2) }
      await delete()
      #expect(try logFiles(folder) == names)
      settings.keep = .zero
      // The whole first log, and the second one's first two files.
      for name in names.dropFirst(3) { try age(folder.appending(name), -1) }
      await delete()
      #expect(try logFiles(folder) == Array(names.dropFirst(3)))
      let result = try test.verify(folder)
      #expect(result.findings == [] && result.removed == 3 && result.signed == result.records)
      // One that is deleted by anybody else is missed.
      let stolen = folder.appending(names[3])
      try FileManager.default.removeItem(atPath: stolen.string)
      #expect(try test.verify(folder).kinds.contains("missing"))
    }
  }

  @Test func withoutASignatureASealedFileIsNotDeleted() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 30)
      let names = try logFiles(folder)
      try age(folder.appending(names[0]), 2)
      let settings = AccessLogSettings(directory: folder, keep: .zero)
      await OldFiles(settings).delete(nil)
      await OldFiles(settings).delete(LogSigner(Puppet(), key: try KeyName("none")))
      #expect(try logFiles(folder) == names)
    }
  }

  @Test func proofsHoldForWhatIsLeft() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 400, rotateAt: 30_000)
      let names = try logFiles(folder)
      for name in names.dropFirst(2) { try age(folder.appending(name), -1) }
      await OldFiles(AccessLogSettings(directory: folder, keep: .zero)).delete(test.signer)
      #expect(try logFiles(folder).count == names.count - 2)
      let proof = try LogProof.make(of: 350, in: folder)
      #expect(try LogProof(parsing: proof.description) == proof)
      #expect(proof.verified(by: [test.key])?.size ?? 0 > 400 && proof.index == 349)
      #expect(AccessRecord(line: proof.record[...])?.sequence == 350)
      #expect(throws: KMSError(.fileNotFound, "")) { try LogProof.make(of: 3, in: folder) }
      #expect(throws: KMSError(.fileNotFound, "")) { try LogProof.make(of: 3000, in: folder) }
    }
  }

  /// Copies an open log as a crash would leave it, with half a line at its end.
  private func crash(_ folder: FilePath, _ copy: FilePath, cutting count: Int) throws {
    try FileManager.default.copyItem(atPath: folder.string, toPath: copy.string)
    let last = copy.appending(try #require(logFiles(copy).last))
    try last.put(last.bytes.dropLast(count))
  }

  @Test(arguments: [0, 1, 60]) func whatACrashLeftIsClosedAtTheNextStart(_ cutting: Int) async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let first = folder.appending("first")
      let log = try AccessLogFile(AccessLogSettings(directory: first, rotateAt: 8192), signer: test.signer)
      for _ in 0..<50 { try await log.report(AccessEvent(.wrap)) }
      let copy = folder.appending("copy")
      try crash(first, copy, cutting: cutting)
      await log.close()
      let late = Timestamp.now().advanced(by: .seconds(7200))
      #expect(try test.verify(copy, now: late).kinds.contains("cut"))
      let next = try AccessLogFile(AccessLogSettings(directory: copy), signer: test.signer)
      await next.close()
      let result = try test.verify(copy, now: late)
      #expect(result.findings == [] && result.logs == 2)
      let own = try readAll(copy, AccessFilter(includesOwn: true)).records
      let end = try #require(own.first { $0.reason?.hasPrefix("its writer died") == true })
      #expect(end.type == .end)
      #expect(try readAll(copy).records.count == (cutting == 0 ? 50 : 49))
      #expect(try readAll(copy).summary.damaged.count == 0)
      // Nothing is done twice.
      let again = try AccessLogFile(AccessLogSettings(directory: copy), signer: test.signer)
      await again.close()
      #expect(try test.verify(copy, now: late).findings == [])
    }
  }

  /// A crash is nobody's doing, however late the next start comes; but who cuts a log then changes the file.
  @Test(arguments: [0, 30], [true, false])
  func aLogThatIsClosedLongAfterItsCrashIsSound(_ cutting: Int, isChanged: Bool) async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let first = folder.appending("first")
      let log = try AccessLogFile(AccessLogSettings(directory: first), signer: test.signer)
      for _ in 0..<5 { try await log.report(AccessEvent(.wrap)) }
      let copy = folder.appending("copy")
      try crash(first, copy, cutting: cutting)
      await log.close()
      // As if all of it had been two hours ago, in one moment.
      let left = copy.appending(try #require(try logFiles(copy).first))
      let time = Timestamp.now().advanced(by: .seconds(-7200))
      try left.put(try left.lines.flatMap { Array(#"{"timestamp":"\#(time)"#.utf8) + $0[44...] })
      var crashed = CrashedLogs(directory: copy, signer: test.signer, durability: .written)
      if !isChanged { crashed.changed = { _ in time } }
      await crashed.close()
      let result = try test.verify(copy, patience: .seconds(150))
      #expect(result.kinds == (isChanged ? ["silence", "missing-checkpoint"] : []))
      #expect(result.crashed == 1 && result.open == 0)
    }
  }

  /// What is packed cannot be ended any more: it waits until the token is there again.
  @Test func whatACrashLeftIsEndedBeforeItIsPacked() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let first = folder.appending("first")
      let log = try AccessLogFile(AccessLogSettings(directory: first), signer: test.signer)
      for _ in 0..<10 { try await log.report((0..<50).map { _ in AccessEvent(.wrap) }) }
      let copy = folder.appending("copy")
      try crash(first, copy, cutting: 10)
      await log.close()
      let left = try #require(try logFiles(copy).first)
      #expect(try FileStatus(copy.appending(left))?.size ?? 0 > OldFiles.worthCompressing)
      // Another writer's file is finished before anybody ends what is left; then a start where the token is away.
      let settings = AccessLogSettings(directory: copy)
      OldFiles(settings).compress()
      let away = LogSigner(test.provider, key: try KeyName("nobody-made-it"))
      await CrashedLogs(directory: copy, signer: away, durability: .written).close()
      OldFiles(settings).compress()
      #expect(try logFiles(copy) == [left])
      await CrashedLogs(directory: copy, signer: test.signer, durability: .written).close()
      OldFiles(settings).compress()
      #expect(try logFiles(copy) == [left + ".gz"])
      #expect(try test.verify(copy, now: .now().advanced(by: .seconds(7200))).findings == [])
    }
  }

  @Test func aLogThatIsWrittenIsLeftAlone() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = try AccessLogFile(AccessLogSettings(directory: folder, rotateAt: 4096), signer: test.signer)
      for _ in 0..<40 {
        try await log.report(AccessEvent(.wrap))
        await CrashedLogs(directory: folder, signer: test.signer, durability: .written).close()
      }
      await log.close()
      let result = try test.verify(folder)
      #expect(result.findings == [] && result.logs == 1)
    }
  }

  /// A server's log, in a folder where commands were at work ever since.
  @Test func whatACrashLeftIsFoundAmongManyLaterLogs() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let first = folder.appending("first")
      let log = try AccessLogFile(AccessLogSettings(directory: first), signer: test.signer)
      for _ in 0..<5 { try await log.report(AccessEvent(.wrap)) }
      let copy = folder.appending("copy")
      try crash(first, copy, cutting: 10)
      await log.close()
      let crashed = try #require(try logFiles(copy).first)
      for i in 0..<300 {
        let name = LogFileName(started: .now().advanced(by: .seconds(i)), process: 4711).description
        try copy.appending(name).put([])
        try FileManager.default.setAttributes([.posixPermissions: 0o400], ofItemAtPath: copy.appending(name).string)
      }
      await CrashedLogs(directory: copy, signer: test.signer, durability: .written).close()
      let own = try readAll(copy, AccessFilter(includesOwn: true)).records
      #expect(own.contains { $0.reason?.hasPrefix("its writer died") == true })
      #expect(try FileStatus(copy.appending(crashed))?.isWritable == false)
    }
  }

  /// So that a start need not look into it again.
  @Test(arguments: [true, false]) func whatIsEndedCannotBeWritten(_ isSigned: Bool) async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = try AccessLogFile(
        AccessLogSettings(directory: folder, rotateAt: 4096), signer: isSigned ? test.signer : nil)
      for _ in 0..<90 { try await log.report(AccessEvent(.wrap)) }
      let files = try logFiles(folder)
      #expect(files.count > 2)
      func areWritable() throws -> [Bool] {
        try files.map { try FileStatus(folder.appending($0))?.isWritable ?? false }
      }
      #expect(try areWritable() == files.map { $0 == files.last })
      await log.close()
      #expect(try !areWritable().contains(true))
    }
  }

  @Test func halfALineOfAnUnsignedLogIsClosedToo() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(AccessLogSettings(directory: folder))
      for _ in 0..<3 { try await log.report(AccessEvent(.wrap)) }
      let copy = folder.appending("copy")
      let name = try #require(try logFiles(folder).first)
      try FileManager.default.createDirectory(atPath: copy.string, withIntermediateDirectories: false)
      try copy.appending(name).put(folder.appending(name).bytes.dropLast(20))
      #expect(try readAll(copy).summary.damaged.count == 1)
      await (try AccessLogFile(AccessLogSettings(directory: copy))).close()
      #expect(try readAll(copy).summary.damaged.count == 0)
      let records = try readAll(copy, AccessFilter(includesOwn: true)).records
      #expect(records.map(\.sequence) == [1, 2, 3] && records.last?.type == .end)
      #expect(try await content(copy, name).contains(#""torn":"{\"timestamp\""#))
    }
  }
}

import CryptoPrimitives
import DurableFiles
import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

/// Deletions after their time, and what is left to vouch for what went before.
@Suite struct DeletionTests {
  private func logFiles(_ folder: FilePath) throws -> [FilePath] {
    try files(in: folder).filter { LogFileName($0) != nil }.map { folder.appending($0) }
  }

  private let late = Timestamp.now().advanced(by: .seconds(7200))

  /// Of all files these alone, as if they had been kept for long enough.
  private func delete(_ paths: [FilePath], in folder: FilePath, _ test: TestSigner) async throws {
    for path in try logFiles(folder) {
      let days = paths.contains(path) ? -1.0 : 1.0
      try FileManager.default.setAttributes(
        [.modificationDate: Date(timeIntervalSinceNow: days * 86_400)], ofItemAtPath: path.string)
    }
    await OldFiles(AccessLogSettings(directory: folder, keep: .zero)).delete(test.signer)
  }

  /// Its writer was killed, or the disk was full.
  @Test(arguments: [1, 200, 5000]) func halfANoteIsRemovedBeforeTheNext(_ length: Int) async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      for _ in 0..<3 { try await writeLog(folder, test, events: 3) }
      let logs = try logFiles(folder)
      try await delete([logs[0]], in: folder, test)
      let list = folder.appending(RemovedFile.name)
      let whole = try list.bytes
      try list.put(whole + [UInt8](repeating: 0x7B, count: length))
      #expect(try test.verify(folder, now: late).findings == [])
      try await delete([logs[1]], in: folder, test)
      #expect(try list.bytes.starts(with: whole) && list.lines.count == 2)
      let result = try test.verify(folder, now: late)
      #expect(result.findings == [] && result.removed == 2)
    }
  }

  @Test func halfANoteMayBeAllThereIs() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      for _ in 0..<2 { try await writeLog(folder, test, events: 3) }
      try folder.appending(RemovedFile.name).put(Array(#"{"removed":"#.utf8))
      try await delete([try logFiles(folder)[0]], in: folder, test)
      let result = try test.verify(folder, now: late)
      #expect(result.findings == [] && result.removed == 1)
    }
  }

  /// A deletion that is on record and was not done would cover one by anybody.
  @Test func aFileThatSomebodyHasIsNotPutOnRecord() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 100, rotateAt: 10_000)
      let logs = try logFiles(folder)
      let held = try FileDescriptor.open(logs[0], .readOnly, options: .closeOnExec)
      #expect(flock(held.rawValue, LOCK_EX | LOCK_NB) == 0 && logs.count > 1)
      try await delete(logs, in: folder, test)
      // Nor the later ones, which would leave a gap.
      #expect(try logFiles(folder) == logs && FileStatus(folder.appending(RemovedFile.name)) == nil)
      try held.close()
      try await delete([logs[0]], in: folder, test)
      #expect(try logFiles(folder) == Array(logs.dropFirst()))
      #expect(try test.verify(folder, now: late).findings == [])
    }
  }

  /// When the first files of all newer logs are gone, their later ones vouch for the index.
  @Test func aLogThatIsTakenAwayIsMissedThoughFirstFilesExpired() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await writeLog(folder, test, events: 100, rotateAt: 10_000)
      let first = try logFiles(folder)
      try await writeLog(folder, test, events: 100, rotateAt: 10_000)
      let second = try logFiles(folder).filter { !first.contains($0) }
      #expect(first.count > 1 && second.count > 1)
      try await delete([first[0], second[0]], in: folder, test)
      let sound = try test.verify(folder, now: late)
      #expect(sound.findings == [] && sound.removed == 2 && sound.logs == 2)
      // Whoever can write to the folder leaves no trace of the first one in it.
      let taken = try #require(try FileIntroduction(of: first[1])).origin
      for file in first.dropFirst() { try FileManager.default.removeItem(atPath: file.string) }
      let (removed, index) = (folder.appending(RemovedFile.name), folder.appending(WriterIndex.name))
      try removed.put(removed.lines.filter { !contains($0[...], Array(taken.utf8)) }.joined())
      var (before, after) = (TreeHasher.empty, TreeHasher.empty)
      var rebuilt: [UInt8] = []
      for line in try index.lines.map({ $0.dropLast() }) {
        let entry = try #require(WriterIndex.Entry(line, after: before))
        before = WriterIndex.hash(line)
        if entry.log == taken { continue }
        let new = entry.line(after: after)
        after = WriterIndex.hash(new[...])
        rebuilt += new + [0x0A]
      }
      try index.put(rebuilt)
      let result = try test.verify(folder, now: late)
      #expect(result.kinds == ["index"] && result.logs == 1)
      // An index that was copied before the file was begun is no finding.
      #expect(try test.verify(folder).findings == [])
    }
  }

  /// A writer that was killed between its first record and its line in the index has logged nothing.
  @Test func aLogThatIsNotInTheIndexIsEndedWithoutIt() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let begun = try AccessLogFile(AccessLogSettings(directory: folder.appending("begun")), signer: test.signer)
      let first = try #require(try logFiles(folder.appending("begun")).first)
      let copy = folder.appending("copy")
      try FileManager.default.createDirectory(atPath: copy.string, withIntermediateDirectories: false)
      let left = copy.appending(try #require(first.lastComponent?.string))
      try left.put(first.bytes)
      await begun.close()
      for _ in 0..<2 { try await writeLog(copy, test, events: 3) }
      let result = try test.verify(copy, now: late)
      #expect(result.findings == [] && result.logs == 3 && result.crashed == 1)
      #expect(try FileStatus(left)?.isWritable == false)
    }
  }
}

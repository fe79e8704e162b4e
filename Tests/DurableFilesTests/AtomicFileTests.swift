import DurableFiles
import Foundation
import KMSCore
import SystemPackage
import Testing

@Suite struct AtomicFileTests {
  let folder: FilePath

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("atomic-\(UUID())")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    folder = FilePath(url.path)
  }

  private func names() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: folder.string) }

  @Test func appearsOnlyWhenCommitted() throws {
    let path = folder.appending("out")
    let file = try AtomicFile(path, replacing: false)
    try file.write([1, 2, 3])
    #expect(try FileStatus(path) == nil)
    try file.commit()
    #expect(try readFile(path, limit: 10) == [1, 2, 3])
    #expect(try FileStatus(path)?.isExposed == false)
    #expect(try names() == ["out"])
  }

  @Test func droppedLeavesNothing() throws {
    do {
      let file = try AtomicFile(folder.appending("out"), replacing: false)
      try file.write([1])
    }
    #expect(try names() == [])
  }

  @Test func anExistingFileIsKeptUnlessReplacing() throws {
    let path = folder.appending("out")
    let first = try AtomicFile(path, replacing: false)
    try first.write([1])
    try first.commit()
    #expect(throws: KMSError(.outputExists, "")) { _ = try AtomicFile(path, replacing: false) }
    let second = try AtomicFile(path, replacing: true)
    try second.write([2])
    try second.commit()
    #expect(try readFile(path, limit: 10) == [2])
    #expect(try names() == ["out"])
  }

  @Test func aFileThatAppearsMeanwhileIsKept() throws {
    let path = folder.appending("out")
    let file = try AtomicFile(path, replacing: false)
    try file.write([1])
    try Data([9]).write(to: URL(fileURLWithPath: path.string))
    var refused = false
    do { try file.commit() } catch let error as KMSError { refused = error.code == .outputExists }
    #expect(refused)
    #expect(try readFile(path, limit: 10) == [9])
  }

  @Test func aMissingFolderIsNamed() throws {
    #expect(throws: KMSError(.fileNotFound, "")) {
      _ = try AtomicFile(folder.appending("no/out"), replacing: false)
    }
  }

  @Test func aReaderHasALimit() throws {
    let file = try AtomicFile(folder.appending("big"), replacing: false)
    try file.write([UInt8](repeating: 0, count: 100))
    try file.commit()
    #expect(throws: KMSError(.limitExceeded, "")) { try readFile(folder.appending("big"), limit: 99) }
  }
}

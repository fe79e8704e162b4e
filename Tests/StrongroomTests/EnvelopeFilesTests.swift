import Foundation
import InMemoryProvider
import Strongroom
import SystemPackage
import Testing

@testable import DataAtRest

/// Folders of envelopes: what is changed, and what is not.
struct EnvelopeFilesTests {
  private let manager: DataAtRestManager

  init() throws {
    manager = try DataAtRestManager(
      providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(), reporter: Recorder())
  }

  private func encryptFile(_ plaintext: [UInt8], to path: FilePath) async throws {
    let plain = path.removingLastComponent().appending("plain")
    try Data(plaintext).write(to: URL(filePath: plain.string))
    try await manager.encryptFile(from: .path(plain), to: .path(path, replacing: true))
    try FileManager.default.removeItem(atPath: plain.string)
  }

  @Test("what somebody else puts in a file's place while it is rewritten stays")
  func replacedMeanwhile() async throws {
    try await withFolder { folder in
      let (path, new) = (folder.appending("file"), folder.appending("new"))
      try path.write("old")
      let error = try await failure {
        try EnvelopeFile.replace(path) { _, target, _ in
          _ = try target.writeAll("old, rewritten".utf8)
          try new.write("another's")
          try FileManager.default.removeItem(atPath: path.string)
          try FileManager.default.moveItem(atPath: new.string, toPath: path.string)
        }
      }
      #expect(error.code == .fileFailed && "\(error)".contains("changed by somebody else"))
      #expect(try path.content == Array("another's".utf8))
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.string) == ["file"])
    }
  }

  @Test(
    "files, fields and key blobs in folders: only recipients change", arguments: [FileReplacement.atomic, .inPlace])
  func folder(_ replacement: FileReplacement) async throws {
    try await withFolder { folder in
      try await manager.createKey(try key)
      let deep = folder.appending("a/b")
      try FileManager.default.createDirectory(atPath: deep.string, withIntermediateDirectories: true)
      try await encryptFile(Array(repeating: 7, count: 2_500_000), to: folder.appending("big"))
      try await encryptFile([], to: deep.appending("empty"))
      try Data(try await manager.encrypt("field")).write(to: URL(filePath: deep.appending("field").string))
      let header = try FileHeader(startOf: try folder.appending("big").content)
      try Data(header.keyBlob.encoded()).write(to: URL(filePath: deep.appending("blob").string))
      try folder.appending("notes.txt").write("no envelope")
      try folder.appending("nothing").write("")
      try FileManager.default.createSymbolicLink(
        atPath: folder.appending("link").string, withDestinationPath: folder.string)
      let names = ["big", "a/b/empty", "a/b/field", "a/b/blob", "notes.txt", "nothing"]
      let before = try names.map { try folder.appending($0).content }
      let new = try await manager.rotate(try key, reason: "test")

      for (isDryRun, counts) in [(true, [4, 0, 0]), (false, [4, 0, 0]), (false, [0, 4, 0])] {
        var source = EnvelopeFiles([folder], replacement: isDryRun ? nil : replacement)
        let report = try await manager.rewrap(&source, with: BulkOptions(isDryRun: isDryRun))
        #expect(report.counts == counts && source.passedOver == 2 && source.fractionDone == 1)
        if isDryRun { #expect(try names.map { try folder.appending($0).content } == before) }
      }
      for (name, old) in zip(names, before) {
        let now = try folder.appending(name).content
        guard EnvelopeKind.detect(old) != nil else {
          #expect(now == old)
          continue
        }
        let isSame = try haveSameBody(now, old)
        #expect(isSame && now != old && now.count == old.count, "\(name)")
      }
      let out = folder.appending("out")
      try await manager.decryptFile(from: .path(folder.appending("big")), to: .path(out))
      #expect(try out.content == Array(repeating: 7, count: 2_500_000))
      let kids = try FileHeader(startOf: try folder.appending("big").content).keyBlob.recipients.map(\.kid)
      #expect(kids == [new.id])
      let left = try FileManager.default.subpathsOfDirectory(atPath: folder.string).filter {
        $0.contains("/.") || $0.hasPrefix(".")
      }
      #expect(left.isEmpty)
    }
  }

  @Test("a file with holes keeps every byte", arguments: [FileReplacement.atomic, .inPlace])
  func sparse(_ replacement: FileReplacement) async throws {
    try await withFolder { folder in
      try await manager.createKey(try key)
      let path = folder.appending("sealed")
      try await encryptFile(Array("start".utf8), to: path)
      let file = try FileDescriptor.open(path, .readWrite)
      _ = try file.writeAll(toAbsoluteOffset: 24 << 20, Array("the end".utf8))
      try file.close()
      let before = try path.content
      try await manager.rotate(try key, reason: "test")
      #expect(try await manager.rewrapFile(path, replacement: replacement))
      let isSame = try haveSameBody(path.content, before)
      #expect(isSame)
    }
  }

  @Test("one file that cannot be changed stops no other")
  func failures() async throws {
    try await withFolder { folder in
      try await manager.createKey(try key)
      for name in ["1", "2", "3", "4"] { try await encryptFile([1], to: folder.appending(name)) }
      var cut = try folder.appending("2").content
      cut.removeLast(cut.count - 500)
      try Data(cut).write(to: URL(filePath: folder.appending("2").string))
      try FileManager.default.createSymbolicLink(
        atPath: folder.appending("link").string, withDestinationPath: folder.appending("4").string)
      try folder.appending("text").write("no envelope")
      try await manager.rotate(try key, reason: "test")
      let names = ["1", "2", "gone", "link", "text", "3"]
      var source = EnvelopeFiles(names.map { folder.appending($0) })
      let report = try await manager.rewrap(&source)
      #expect(report.counts == [2, 0, 4])
      #expect(report.failures.map { FilePath($0.name).lastComponent?.string } == ["2", "gone", "link", "text"])
      #expect(
        report.failures.map(\.error.code) == [.malformedEnvelope, .fileNotFound, .fileFailed, .malformedEnvelope])
      #expect(try folder.appending("2").content == cut)
    }
  }

  /// In Latin-1, say, as old backups have them.
  @Test("a name that is not UTF-8 is no obstacle, and stays")
  func bytesAsName() async throws {
    try await withFolder { folder in
      try await manager.createKey(try key)
      let plain = folder.appending("sealed")
      try await encryptFile([1, 2, 3], to: plain)
      let name = try #require(FilePath.Component(platformString: [0x63, CChar(bitPattern: 0xE9), 0]))
      let path = folder.appending(name)
      #expect(
        unsafe plain.withPlatformString { old in  // for the call only
          unsafe path.withPlatformString { unsafe rename(old, $0) }  // as above
        } == 0)
      let new = try await manager.rotate(try key, reason: "test")
      var source = EnvelopeFiles([folder])
      #expect(try await manager.rewrap(&source).counts == [1, 0, 0])
      var (census, look) = (try await manager.beginCensus(), EnvelopeFiles([folder], replacement: nil))
      try await manager.count(&look, in: &census)
      #expect(census.envelopesByVersion == [new.id: 1] && census.failures.isEmpty)
      try await manager.decryptFile(from: .path(path), to: .path(plain))
      #expect(try plain.content == [1, 2, 3])
      try await manager.encryptFile(from: .path(plain), to: .path(path, replacing: true))
      try await manager.decryptFile(from: .path(path), to: .path(folder.appending("again")))
      #expect(try folder.appending("again").content == [1, 2, 3])
    }
  }

  @Test("a name of 255 bytes is no obstacle")
  func longName() async throws {
    try await withFolder { folder in
      try await manager.createKey(try key)
      let path = folder.appending(String(repeating: "鍵", count: 85))
      try await encryptFile([1], to: path)
      try await manager.rotate(try key, reason: "test")
      #expect(try await manager.rewrapFile(path))
    }
  }

  @Test("what a killed run left in a folder is removed by the next; a dry run removes nothing")
  func leftovers() async throws {
    try await withFolder { folder in
      try await manager.createKey(try key)
      let path = folder.appending("sealed")
      try await encryptFile([1], to: path)
      let left = folder.appending(".sealed.1a2b3c.strongroom-partial")
      for isNamed in [true, false] {
        try left.write("half")
        var look = EnvelopeFiles([isNamed ? path : folder], replacement: nil)
        _ = try await manager.rewrap(&look, with: BulkOptions(isDryRun: true))
        #expect(left.isThere)
        var source = EnvelopeFiles([isNamed ? path : folder])
        #expect(try await manager.rewrap(&source).counts == [0, 1, 0])
        #expect(!left.isThere)
      }
    }
  }
}

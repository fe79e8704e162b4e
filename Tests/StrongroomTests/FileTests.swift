import DurableFiles
import Envelope
import Foundation
import InMemoryProvider
import Strongroom
import Synchronization
import SystemPackage
import Testing

/// Files of several segments, by the manager: parts of them, and what goes wrong in the midst.
struct FileTests {
  @Test("parts of a file, without the rest and without the provider")
  func parts() async throws {
    try await withManager { manager, folder, recorder in
      let (plain, sealed) = (folder.appending("plain"), folder.appending("sealed"))
      try write(5 << 20, to: plain)
      let plaintext = try plain.content
      let context = try EncryptionContext([("path", "plain")])
      try await manager.encryptFile(from: .path(plain), to: .path(sealed), context: context)
      try flip(sealed, at: 1024 + 2 << 20)  // the third segment

      let file = try await manager.openFile(sealed, context: context)
      #expect(recorder.events.last?.operation == .decrypt && recorder.events.last?.success == true)
      let logged = recorder.events.count
      #expect(file.count == plaintext.count)
      #expect(try await file.read(at: 12_345, count: 4096) == Array(plaintext[12_345..<16_441]))
      #expect(try await file.read(at: file.count - 1, count: 2) == [plaintext[plaintext.count - 1]])
      #expect(try await file.read(at: file.count, count: 1) == [])
      await #expect(throws: KMSError(.doesNotOpen, "")) { try await file.read(at: 2_500_000, count: 1) }

      let output = folder.appending("part")
      let progress = Counter()
      try await file.decrypt(from: 4_000_000, count: .max, to: .path(output), progress: progress.add)
      let isSame = try output.content == Array(plaintext[4_000_000...])
      #expect(isSame)
      #expect(progress.value == plaintext.count - 4_000_000)
      await #expect(throws: KMSError(.doesNotOpen, "")) {
        try await file.decrypt(from: 0, count: 3 << 20, to: .path(folder.appending("none")))
      }
      #expect(recorder.events.count == logged, "reads ask no provider")
      #expect(try names(folder) == ["part", "plain", "sealed"])

      await #expect(throws: KMSError(.doesNotOpen, "")) { try await manager.openFile(sealed) }
      await #expect(throws: KMSError(.fileNotFound, "")) { try await manager.openFile(folder.appending("none")) }
      let field = folder.appending("field")
      try Data(try await manager.encrypt("a value")).write(to: URL(filePath: field.string))
      await #expect(throws: KMSError(.notSupported, "")) { try await manager.openFile(field) }
      await #expect(throws: KMSError(.malformedEnvelope, "")) { try await manager.openFile(plain) }
    }
  }

  @Test("a damaged segment, wherever it is, leaves no output", arguments: [0, 3, 7, 8])
  func damaged(segment: Int) async throws {
    try await withManager { manager, folder, _ in
      let (plain, sealed) = (folder.appending("plain"), folder.appending("sealed"))
      try write(8 << 20, to: plain)
      try await manager.encryptFile(from: .path(plain), to: .path(sealed))
      try flip(sealed, at: 1024 + segment << 20 + 50)
      await #expect(throws: KMSError(.doesNotOpen, "")) {
        try await manager.decryptFile(from: .path(sealed), to: .path(folder.appending("opened")))
      }
      await #expect(throws: KMSError(.doesNotOpen, "")) { try await manager.reencryptFile(sealed) }
      #expect(try names(folder) == ["plain", "sealed"])
    }
  }

  @Test("a file that grows or shrinks while it is encrypted", arguments: [1, -4096])
  func changes(by count: Int) async throws {
    try await withManager { manager, folder, _ in
      let plain = folder.appending("plain")
      try write(4 << 20, to: plain)
      let error = try await failure {
        try await manager.encryptFile(from: .path(plain), to: .path(folder.appending("sealed"))) { _ in
          unsafe _ = truncate(plain.string, 4 << 20 + count)  // a Swift string, for the call
        }
      }
      #expect(error.code == .fileFailed)
      #expect(error.message.contains("4194304 bytes") && error.message.contains("\(4 << 20 + count) now"), "\(error)")
      #expect(try names(folder) == ["plain"])
    }
  }

  private func withManager(
    _ body: (DataAtRestManager, FilePath, Recorder) async throws -> Void
  ) async throws {
    try await withFolder { folder in
      let recorder = Recorder()
      let manager = try DataAtRestManager(
        providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(), reporter: recorder)
      try await manager.createKey(try key)
      try await body(manager, folder, recorder)
      await manager.close()
    }
  }

  private func write(_ count: Int, to path: FilePath) throws {
    let block = (0..<65_536).map { _ in UInt8.random(in: .min ... .max) }
    try Data(Array(repeatElement(block, count: count / block.count).joined())).write(to: URL(filePath: path.string))
  }

  private func flip(_ path: FilePath, at offset: Int) throws {
    let file = try FileDescriptor.open(path, .readWrite)
    try file.closeAfter {
      try file.seek(offset: Int64(offset), from: .start)
      let byte = try file.readFully(upTo: 1)[0]
      try file.seek(offset: Int64(offset), from: .start)
      _ = try file.writeAll([byte ^ 1])
    }
  }

  private func names(_ folder: FilePath) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.string).sorted()
  }
}

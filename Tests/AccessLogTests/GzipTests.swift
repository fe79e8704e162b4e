import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

@testable import AccessLog

/// Files that are finished are packed, by a library whose work others must be able to read, and that reads theirs.
@Suite struct GzipTests {
  private func unpacked(_ path: FilePath) throws -> [UInt8] {
    let source = try ChunkSource(path)
    var all: [UInt8] = []
    while case let chunk = try source.next(), !chunk.isEmpty { all += chunk }
    return all
  }

  /// Around the size of what is read and written at once, of one value, of lines and of noise.
  private static let contents: [String: [UInt8]] = {
    var noise = SystemRandomNumberGenerator()
    let chunk = ChunkSource.chunk
    return [
      "empty": [], "a byte": [10], "a chunk": [UInt8](repeating: 65, count: chunk),
      "more than chunks": [UInt8](repeating: 65, count: 3 * chunk + 1),
      "lines": (0..<40_000).flatMap { Array("{\"sequence\":\($0),\"operation\":\"wrap\"}\n".utf8) },
      "noise": (0..<2 * chunk + 77).map { _ in UInt8.random(in: 0...255, using: &noise) },
    ]
  }()

  @Test(arguments: contents.keys) func whatIsPackedIsReadByUsAndByGzip(_ name: String) async throws {
    let bytes = try #require(Self.contents[name])
    try await withFolder { folder in
      let path = folder.appending("x")
      try path.put(bytes)
      try compress(path)
      let packed = FilePath(path.string + ".gz")
      #expect(try files(in: folder) == ["x.gz"] && unpacked(packed) == bytes)
      let plain = folder.appending("y")
      try plain.put(bytes)
      let result = try await runProcess("/bin/sh", ["-c", "zcat x.gz | cmp - y"], folder: folder.string)
      #expect(result.status == 0 && result.error == "")
    }
  }

  @Test(arguments: contents.keys) func whatGzipPackedIsRead(_ name: String) async throws {
    let bytes = try #require(Self.contents[name])
    try await withFolder { folder in
      let path = folder.appending("x")
      try path.put(bytes)
      #expect(try await runProcess("/bin/gzip", ["-9", path.string]).status == 0)
      #expect(try unpacked(FilePath(path.string + ".gz")) == bytes)
    }
  }

  @Test func aDamagedFileIsNeverTakenForAWholeOne() async throws {
    try await withFolder { folder in
      let path = folder.appending("x")
      let lines = (0..<5000).flatMap { Array("{\"sequence\":\($0),\"operation\":\"wrap\"}\n".utf8) }
      try path.put(lines)
      try compress(path)
      let packed = try FilePath(path.string + ".gz").bytes
      let damaged = FilePath(folder.string + "/y.gz")
      for count in stride(from: 0, to: packed.count, by: max(1, packed.count / 50)) {
        try damaged.put(packed[..<count])
        #expect(throws: KMSError(.fileFailed, ""), "cut to \(count)") { try unpacked(damaged) }
      }
      try damaged.put(packed + [0])
      #expect(throws: KMSError(.fileFailed, "")) { try unpacked(damaged) }
      // Time, extra flags and system in the header are under no checksum.
      for i in stride(from: 10, to: packed.count, by: max(1, packed.count / 50)) {
        var changed = packed
        changed[i] ^= 0x10
        try damaged.put(changed)
        #expect(throws: KMSError(.fileFailed, ""), "changed at \(i)") { try unpacked(damaged) }
      }
    }
  }
}

import CryptoPrimitives
import Envelope
import Foundation
import KMSCore
import SystemPackage
import Testing

/// Reading anywhere in a file.
@Suite struct FileBodyReaderTests {
  /// 10 GiB of which three segments are there; all others are holes, which do not open.
  @Test func aReadOfATenGiBFileOpensTwoSegments() throws {
    let key = ContentKey.random(for: .fileBody)
    let (size, start, wanted) = (10 << 30, 1024, 7_777)
    let last = 10 << 10 - 1
    try withFile { file in
      let body = try FileBody(key: key, context: .empty)
      guard ftruncate(file.rawValue, off_t(start)) == 0 else { throw Errno(rawValue: errno) }
      try file.seek(offset: Int64(start), from: .start)
      _ = try file.writeAll(body.head)
      let plaintext = pattern(FileBody.plaintextSize(ofSegment: wanted))
      try seal(plaintext, wanted, isLast: false, of: body, to: file, at: start)
      try seal(Array(plaintext.prefix(999)), last, isLast: true, of: body, to: file, at: start)

      let reader = try FileBodyReader(of: file, at: start, key: key, context: .empty)
      #expect(reader.count == FileBody.plaintextOffset(ofSegment: last) + 999)
      #expect(reader.count > size - (size >> 10))
      let offset = FileBody.plaintextOffset(ofSegment: wanted)
      try expectSame(reader.read(at: offset + 10_000, count: 4096), Array(plaintext[10_000..<14_096]))
      try expectSame(reader.read(at: reader.count - 9, count: 4096), Array(plaintext[990..<999]))
      for count in [1, 4096] {
        #expect(throws: KMSError(.doesNotOpen, "")) { try reader.read(at: offset - 1, count: count) }
        #expect(throws: KMSError(.doesNotOpen, "")) { try reader.read(at: 0, count: count) }
      }
      #expect(throws: KMSError(.doesNotOpen, "")) {
        try reader.read(at: offset + plaintext.count - 4095, count: 4096)
      }
      try expectSame(reader.read(at: offset, count: plaintext.count), plaintext, "after failures")

      // Longer by a hole, and cut to a segment that is not the last: seen before anything is read.
      guard ftruncate(file.rawValue, off_t(start + size + 4096)) == 0 else { throw Errno(rawValue: errno) }
      #expect(throws: KMSError(.doesNotOpen, "")) {
        try FileBodyReader(of: file, at: start, key: key, context: .empty)
      }
      guard ftruncate(file.rawValue, off_t(start + (wanted + 1) << 20)) == 0 else { throw Errno(rawValue: errno) }
      #expect(throws: KMSError(.doesNotOpen, "")) {
        try FileBodyReader(of: file, at: start, key: key, context: .empty)
      }
    }
  }

  @Test(arguments: [0, 1, 1_048_519, 1_048_520, 1_048_521, 2_097_080, 2_097_081, 3_500_000])
  func everyPartIsAsInTheWhole(size: Int) throws {
    let key = ContentKey.random(for: .fileBody)
    let plaintext = pattern(size)
    try withFile { file in
      _ = try file.writeAll([UInt8](repeating: 0, count: 100) + sealedByHand(plaintext, key, .empty))
      let reader = try FileBodyReader(of: file, at: 100, key: key, context: .empty)
      #expect(reader.count == size)
      let borders = [0, 1, 1_048_519, 1_048_520, 1_048_521, 2_097_079, 2_097_080, size / 2, size - 1, size, size + 1]
      for offset in Set(borders) where offset >= 0 {
        for count in [0, 1, 4096, .max] {
          let expected = plaintext.dropFirst(offset).prefix(count)
          try expectSame(reader.read(at: offset, count: count), Array(expected), "\(count) at \(offset)")
          let written = try stream([]) { _, target in
            try reader.write(from: offset, count: count, to: target, progress: { _ in })
          }
          expectSame(written, Array(expected), "\(count) at \(offset)")
        }
      }
    }
  }

  @Test func everyCutIsRefused() throws {
    let key = ContentKey.random(for: .fileBody)
    let sealed = try sealedByHand(pattern(1_048_520 + 30), key, .empty)
    for count in Array(0..<80) + Array(sealed.count - 100..<sealed.count) {
      try withFile { file in
        _ = try file.writeAll(sealed.prefix(count))
        var code: KMSError.Code?
        do { _ = try FileBodyReader(of: file, at: 0, key: key, context: .empty) } catch let error as KMSError {
          code = error.code
        }
        #expect(code == (count < 40 ? .malformedEnvelope : .doesNotOpen), "cut to \(count)")
      }
    }
  }

  @Test func aFileThatShrinksSaysSo() throws {
    let key = ContentKey.random(for: .fileBody)
    try withFile { file in
      _ = try file.writeAll(try sealedByHand(pattern(3 << 20), key, .empty))
      let reader = try FileBodyReader(of: file, at: 0, key: key, context: .empty)
      guard ftruncate(file.rawValue, 5000) == 0 else { throw Errno(rawValue: errno) }
      #expect(throws: KMSError(.fileFailed, "")) { try reader.read(at: 0, count: 1) }
    }
  }

  private func seal(
    _ plaintext: [UInt8], _ index: Int, isLast: Bool, of body: FileBody, to file: FileDescriptor, at start: Int
  ) throws {
    let sealed = try [UInt8](capacity: plaintext.count + 16) { output in
      try body.seal(plaintext.span, segment: index, isLast: isLast, into: &output)
    }
    try file.seek(offset: Int64(start + FileBody.offset(ofSegment: index)), from: .start)
    _ = try file.writeAll(sealed)
  }

  private func withFile(_ body: (FileDescriptor) throws -> Void) throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "body-\(UUID())").path
    let file = try FileDescriptor.open(FilePath(path), .readWrite, options: .create, permissions: .ownerReadWrite)
    try FileManager.default.removeItem(atPath: path)
    try file.closeAfter { try body(file) }
  }
}

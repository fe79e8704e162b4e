import CryptoPrimitives
import Foundation
import KMSCore
import Synchronization
import SystemPackage
import Testing

@testable import Envelope

/// Streams that several workers seal and open, against bodies that are sealed and opened here, segment by segment.
@Suite struct SegmentLineTests {
  private static let first = FileBody.plaintextSize(ofSegment: 0)
  private static let other = FileBody.plaintextSize(ofSegment: 1)
  /// Around each border of the first five segments.
  private static let sizes =
    [0, 1, 9_437_191]
    + (0..<5).flatMap { number -> [Int] in
      let border = first + number * other
      return [border - 1, border, border + 1]
    }

  @Test(arguments: sizes) func everySizeAsByHand(size: Int) throws {
    let plaintext = pattern(size)
    let key = ContentKey.random(for: .fileBody)
    let context = try EncryptionContext([("size", String(size))])
    let sealed = try stream(plaintext) {
      try FileStream.seal(from: $0, to: $1, key: key, context: context, progress: { _ in })
    }
    let back = try openedByHand(sealed, key, context)
    expectSame(back, plaintext)
    let byHand = try sealedByHand(plaintext, key, context)
    #expect(byHand.count == sealed.count)
    let done = Mutex<[Int]>([])
    let inside = Atomic(false)
    let opened = try stream(byHand) {
      try FileStream.open(from: $0, to: $1, key: key, context: context) { count in
        let isSecond = inside.exchange(true, ordering: .sequentiallyConsistent)
        #expect(!isSecond, "two at a time tell of progress")
        done.withLock { $0.append(count) }
        inside.store(false, ordering: .sequentiallyConsistent)
      }
    }
    expectSame(opened, plaintext)
    let counts = done.withLock { $0 }
    #expect(counts == (0..<counts.count).map { FileBodyTests.count(ofSegment: $0, in: size) })

    let other = ContentKey.random(for: .fileBody)
    let resealed = try stream(byHand) {
      try FileStream.reseal(from: $0, key, to: $1, other, context: context, progress: { _ in })
    }
    let again = try openedByHand(resealed, other, context)
    expectSame(again, plaintext)
  }

  /// Two damaged segments, so that a later one may be looked at first.
  @Test(arguments: [0, 1, 2, 5, 10]) func theFirstFailureIsToldAndNothingBehindItIsWritten(bad: Int) throws {
    let plaintext = pattern(12 << 20)
    let key = ContentKey.random(for: .fileBody)
    var sealed = try sealedByHand(plaintext, key, .empty)
    for index in [bad, bad + 1] { sealed[FileBody.offset(ofSegment: index) + 4321] ^= 1 }
    var thrown: KMSError?
    let opened = try stream(sealed) { source, target in
      do {
        try FileStream.open(from: source, to: target, key: key, context: .empty, progress: { _ in })
      } catch let error as KMSError { thrown = error }
    }
    let error = try #require(thrown)
    #expect(error.code == .doesNotOpen)
    #expect(error.message.contains("at byte \(bad << 20) "), "\(error)")
    expectSame(opened, Array(plaintext.prefix(FileBody.plaintextOffset(ofSegment: bad))))
  }

  @Test func segmentsInAnotherOrderDoNotOpen() throws {
    let key = ContentKey.random(for: .fileBody)
    let sealed = try sealedByHand(pattern(6 << 20), key, .empty)
    let (third, fourth) = (sealed[2 << 20..<3 << 20], sealed[3 << 20..<4 << 20])
    let changed = sealed[..<(2 << 20)] + fourth + third + sealed[(4 << 20)...]
    #expect(throws: KMSError(.doesNotOpen, "")) {
      try stream(Array(changed)) {
        try FileStream.open(from: $0, to: $1, key: key, context: .empty, progress: { _ in })
      }
    }
  }

  @Test(arguments: 0..<8) func whoStopsItGetsABeginning(after segments: Int) throws {
    let plaintext = pattern(8 << 20)
    let calls = Atomic(0)
    let key = ContentKey.random(for: .fileBody)
    let opened = try stream(sealedByHand(plaintext, key, .empty)) { source, target in
      #expect(throws: CancellationError.self) {
        try FileStream.open(from: source, to: target, key: key, context: .empty) { _ in
          if calls.add(1, ordering: .relaxed).oldValue == segments { throw CancellationError() }
        }
      }
    }
    let called = calls.load(ordering: .relaxed)
    #expect(called == segments + 1)
    expectSame(opened, Array(plaintext.prefix(FileBody.plaintextOffset(ofSegment: segments + 1))))
  }

  /// A source that ends in an error: the memory of a mapping whose file is shorter.
  @Test func aFailureToReadComesAfterWhatWasRead() throws {
    let whole = 5 << 20
    let key = ContentKey.random(for: .fileBody)
    let path = FileManager.default.temporaryDirectory.appending(path: "mapped-\(UUID())").path
    #expect(FileManager.default.createFile(atPath: path, contents: Data(pattern(whole))))
    let file = try FileDescriptor.open(FilePath(path), .readOnly)
    defer {
      try? file.close()
      try? FileManager.default.removeItem(atPath: path)
    }
    let mapped = unsafe mmap(nil, 2 * whole, PROT_READ, MAP_SHARED, file.rawValue, 0)
    defer { unsafe _ = munmap(mapped, 2 * whole) }
    let memory = try FileDescriptor.open(FilePath("/proc/self/mem"), .readOnly)
    defer { try? memory.close() }
    try memory.seek(offset: Int64(Int(bitPattern: mapped)), from: .start)
    let sealed = try stream([]) { _, target in
      #expect(throws: Errno.ioError) {
        try FileStream.seal(from: memory, to: target, key: key, context: .empty, progress: { _ in })
      }
    }
    #expect(sealed.count == 5 << 20, "five full segments, and none that would be the last")
    #expect(throws: KMSError(.doesNotOpen, "")) { try openedByHand(sealed, key, .empty) }
  }

  @Test func aFailureToWriteIsTold() throws {
    let full = try FileDescriptor.open(FilePath("/dev/full"), .writeOnly)
    defer { try? full.close() }
    for workers in [1, 3, 8] {
      let calls = Atomic(0)
      _ = try stream(pattern(9 << 20)) { source, _ in
        let line = SegmentLine(from: source, to: full, size: { _ in 1 << 20 }, workers: workers) {
          input, output, _, _ in
          swap(&input, &output)
          return output.count
        }
        #expect(throws: Errno.noSpace) {
          try line.run { _ in _ = calls.add(1, ordering: .relaxed) }
        }
      }
      let called = calls.load(ordering: .relaxed)
      #expect(called == 0)
    }
  }

  /// Of each two segments the second is worked on first: the order is that of the source all the same. A worker waits
  /// here for another, so this ends only where there are two.
  @Test(.enabled(if: ProcessInfo.processInfo.activeProcessorCount > 1), .timeLimit(.minutes(5)), arguments: [2, 3, 8])
  func whoIsDoneEarlyWaitsForItsTurn(workers: Int) async throws {
    let bytes = pattern(3_000_000)
    let copied = try await onDispatchThread {
      try stream(bytes) { source, target in
        let secondIsDone = DispatchSemaphore(value: 0)
        let line = SegmentLine(from: source, to: target, size: { 10_000 + $0 }, workers: workers) {
          input, output, index, isLast in
          if index % 2 == 1, index > 2 { secondIsDone.signal() }
          if index % 2 == 0, index > 1, !isLast { secondIsDone.wait() }
          swap(&input, &output)
          return output.count
        }
        try line.run { _ in }
      }
    }
    expectSame(copied, bytes)
  }

  /// As the manager does its work on files.
  private func onDispatchThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      DispatchQueue.global().async { continuation.resume(with: Result { try body() }) }
    }
  }
}

/// Where segments are in the plaintext.
@Suite struct FileBodyTests {
  /// Bytes of plaintext in a segment of a file that has `size` of it.
  static func count(ofSegment index: Int, in size: Int) -> Int {
    let start = index == 0 ? 0 : 1_048_520 + (index - 1) * 1_048_560
    return min(index == 0 ? 1_048_520 : 1_048_560, size - start)
  }

  @Test func everyByteIsInTheSegmentThatItIsIn() {
    var start = 0
    for index in 0..<300 {
      let size = FileBody.plaintextSize(ofSegment: index)
      #expect(FileBody.plaintextOffset(ofSegment: index) == start)
      for offset in [start, start + size / 2, start + size - 1] {
        #expect(FileBody.segment(ofPlaintextAt: offset) == index)
      }
      start += size
    }
  }
}

/// Bytes that no two segments have alike.
func pattern(_ count: Int) -> [UInt8] {
  let block = (0..<65_521).map { UInt8(truncatingIfNeeded: ($0 &* $0) >> 7 &+ $0) }
  var bytes: [UInt8] = []
  while bytes.count < count { bytes += block.prefix(count - bytes.count) }
  return bytes
}

/// What `#expect` does, without showing where long arrays differ: to find that takes for ever.
func expectSame(
  _ bytes: [UInt8], _ expected: [UInt8], _ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation
) {
  let isSame = bytes == expected
  #expect(isSame, comment, sourceLocation: sourceLocation)
}

/// A body of one segment after the other, by the format's words.
func sealedByHand(
  _ plaintext: [UInt8], _ key: borrowing ContentKey, _ context: EncryptionContext
) throws -> [UInt8] {
  let body = try FileBody(key: key, context: context)
  var (bytes, index, start) = (body.head, 0, 0)
  repeat {
    let end = start + FileBodyTests.count(ofSegment: index, in: plaintext.count)
    bytes += try [UInt8](capacity: end - start + 16) { output in
      try body.seal(
        plaintext.span.extracting(start..<end), segment: index, isLast: end == plaintext.count, into: &output)
    }
    (index, start) = (index + 1, end)
  } while start < plaintext.count
  return bytes
}

func openedByHand(_ bytes: [UInt8], _ key: borrowing ContentKey, _ context: EncryptionContext) throws -> [UInt8] {
  let body = try FileBody(key: key, context: context, head: Array(bytes.prefix(40)))
  var (plaintext, index, start) = ([UInt8](), 0, 40)
  repeat {
    let end = min((index + 1) << 20, bytes.count)
    plaintext += try [UInt8](capacity: end - start - 16) { output in
      try body.open(
        bytes.span.extracting(start..<end), segment: index, isLast: end == bytes.count, into: &output)
    }
    (index, start) = (index + 1, end)
  } while start < bytes.count
  return plaintext
}

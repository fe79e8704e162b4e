internal import KMSCore
internal import Synchronization
public import SystemPackage

/// A file's body that is read anywhere in it: of a file of any size, only the segments that hold what is wanted are
/// opened, and, first of all, the last one. That one shows that the file is whole, and how long the plaintext is
/// (docs/envelope-format.md, section 4).
///
/// The segment that was opened last is kept, and wiped with the reader. Blocks: not for the cooperative pool.
public final class FileBodyReader: Sendable {
  /// Bytes of plaintext.
  public let count: Int

  private let source: FileDescriptor
  private let start: Int
  private let end: Int
  private let segments: Int
  private let body: FileBody
  private let opened: Mutex<Opened>

  private struct Opened: ~Copyable {
    var sealed = SegmentBuffer()
    var plaintext = SegmentBuffer()
    /// Of the segment whose plaintext is there.
    var index: Int?
  }

  /// - Parameters:
  ///   - source: a file that stays open while this is used. Its position does not matter.
  ///   - start: where the body begins in it: the header's size.
  /// - Throws: ``KMSError/Code/doesNotOpen`` when the file was cut or extended, or key or context differ;
  ///   ``KMSError/Code/malformedEnvelope``; an `Errno` when `source` cannot be read anywhere, as a pipe.
  public init(
    of source: FileDescriptor, at start: Int, key: borrowing ContentKey, context: EncryptionContext
  ) throws {
    end = Int(try source.seek(offset: 0, from: .end))
    _ = try source.seek(offset: Int64(start), from: .start)
    body = try FileBody(key: key, context: context, head: source.readFully(upTo: FileBody.headSize))
    self.source = source
    self.start = start
    segments = (end - start + FileBody.segmentSize - 1) / FileBody.segmentSize
    count = end - start - FileBody.headSize - segments * FileBody.tagSize
    opened = Mutex(Opened())
    try opened.withLock { try open(segments - 1, &$0) }
  }

  /// Plaintext from `offset` on: `count` bytes, fewer at the end of the file, and none behind it.
  public func read(at offset: Int, count: Int) throws -> [UInt8] {
    let range = bytes(from: offset, count: count)
    return try [UInt8](capacity: range.count) { output in
      try forEachPart(of: range) { plaintext, part in plaintext.copy(part, to: &output) }
    }
  }

  /// Writes plaintext from `offset` on, as ``read(at:count:)`` would give it, in constant memory.
  ///
  /// - Parameter progress: bytes done since the call before; may throw to stop.
  public func write(from offset: Int, count: Int, to target: FileDescriptor, progress: (Int) throws -> Void) throws {
    try forEachPart(of: bytes(from: offset, count: count)) { plaintext, part in
      try plaintext.write(part, to: target)
      try progress(part.count)
    }
  }

  /// What there is of them.
  private func bytes(from offset: Int, count: Int) -> Range<Int> {
    precondition(offset >= 0 && count >= 0, "there is nothing before a file")
    let start = min(offset, self.count)
    return start..<start + min(count, self.count - start)
  }

  private func forEachPart(
    of range: Range<Int>, _ body: (borrowing SegmentBuffer, Range<Int>) throws -> Void
  ) throws {
    var position = range.lowerBound
    while position < range.upperBound {
      let index = FileBody.segment(ofPlaintextAt: position)
      let first = FileBody.plaintextOffset(ofSegment: index)
      position = try opened.withLock { opened in
        try open(index, &opened)
        let part = position - first..<min(range.upperBound - first, opened.plaintext.count)
        try body(opened.plaintext, part)
        return first + part.upperBound
      }
    }
  }

  private func open(_ index: Int, _ opened: inout Opened) throws {
    guard opened.index != index else { return }
    opened.index = nil
    let offset = start + FileBody.offset(ofSegment: index)
    let size = min(FileBody.sealedSize(ofSegment: index), end - offset)
    try opened.sealed.read(from: source, at: offset, count: size)
    try body.open(opened.sealed, segment: index, isLast: index == segments - 1, into: &opened.plaintext)
    opened.index = index
  }
}

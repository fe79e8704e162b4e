public import SystemPackage

/// Whole files from descriptor to descriptor, pipes included, in constant memory. Blocks: not for the
/// cooperative pool.
public enum FileStream {
  /// Reads the header and not a byte more.
  ///
  /// - Parameter start: what was read of it already.
  /// - Returns: the header, and its bytes as they were.
  /// - Throws: ``KMSError/Code/malformedEnvelope``, or an `Errno`.
  public static func readHeader(
    from source: FileDescriptor, after start: [UInt8] = []
  ) throws -> (FileHeader, [UInt8]) {
    var bytes = start
    // What a header says of its length comes piece by piece.
    while case let missing = try FileHeader.missing(in: bytes), missing != 0 {
      guard missing > 0 else { throw CBORReader(bytes).malformed("the header ends early", at: bytes.count + missing) }
      let more = try source.readFully(upTo: missing)
      bytes += more
      guard more.count == missing else {
        _ = try FileHeader(parsing: bytes)  // says where it ends and what is missing
        throw CBORReader(bytes).malformed("the header is cut short", at: bytes.count)
      }
    }
    return (try FileHeader(parsing: bytes), bytes)
  }

  /// Encrypts everything up to the end of `source` and writes the body.
  ///
  /// - Parameter progress: bytes of plaintext done since the call before; may throw to stop. Called by one thread at a
  ///   time, but not always by the same.
  public static func seal(
    from source: FileDescriptor, to target: FileDescriptor, key: borrowing ContentKey, context: EncryptionContext,
    progress: @Sendable (Int) throws -> Void
  ) throws {
    let body = try FileBody(key: key, context: context)
    _ = try target.writeAll(body.head)
    try SegmentLine(from: source, to: target, size: FileBody.plaintextSize) { input, output, index, isLast in
      try body.seal(input, segment: index, isLast: isLast, into: &output)
      return input.count
    }.run(progress: progress)
  }

  /// Decrypts the body that `source` stands before. A segment is written only after it was authenticated.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen``, ``KMSError/Code/malformedEnvelope``, or an `Errno`.
  public static func open(
    from source: FileDescriptor, to target: FileDescriptor, key: borrowing ContentKey, context: EncryptionContext,
    progress: @Sendable (Int) throws -> Void
  ) throws {
    let body = try FileBody(key: key, context: context, head: source.readFully(upTo: FileBody.headSize))
    try SegmentLine(from: source, to: target, size: FileBody.sealedSize) { input, output, index, isLast in
      try body.open(input, segment: index, isLast: isLast, into: &output)
      return output.count
    }.run(progress: progress)
  }

  /// Opens each segment of the body that `source` stands before, and seals it under another key: a new body of the
  /// same length.
  ///
  /// - Throws: as ``open(from:to:key:context:progress:)``.
  public static func reseal(
    from source: FileDescriptor, _ oldKey: borrowing ContentKey, to target: FileDescriptor,
    _ newKey: borrowing ContentKey, context: EncryptionContext, progress: @Sendable (Int) throws -> Void
  ) throws {
    let old = try FileBody(key: oldKey, context: context, head: source.readFully(upTo: FileBody.headSize))
    let new = try FileBody(key: newKey, context: context)
    _ = try target.writeAll(new.head)
    try SegmentLine(from: source, to: target, size: FileBody.sealedSize) { input, output, index, isLast in
      try old.open(input, segment: index, isLast: isLast, into: &output)
      try new.seal(output, segment: index, isLast: isLast, into: &input)
      swap(&input, &output)
      return input.count
    }.run(progress: progress)
  }
}

extension FileBody {
  /// Replaces the content of `output`.
  func seal(
    _ input: borrowing SegmentBuffer, segment index: Int, isLast: Bool, into output: inout SegmentBuffer
  ) throws {
    try input.withBytes { bytes in try output.fill { try seal(bytes, segment: index, isLast: isLast, into: &$0) } }
  }

  /// As ``seal(_:segment:isLast:into:)``; nothing is in `output` when it does not open.
  func open(
    _ input: borrowing SegmentBuffer, segment index: Int, isLast: Bool, into output: inout SegmentBuffer
  ) throws {
    try input.withBytes { bytes in try output.fill { try open(bytes, segment: index, isLast: isLast, into: &$0) } }
  }
}

extension FileDescriptor {
  /// `count` bytes, or fewer at the end of the stream.
  package func readFully(upTo count: Int) throws -> [UInt8] {
    try unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in  // `filled` is what read() gave
      while filled < count {
        let rest = unsafe UnsafeMutableRawBufferPointer(  // within the buffer
          rebasing: UnsafeMutableRawBufferPointer(buffer)[filled...])
        let got = try unsafe read(into: rest)  // for the call
        if got == 0 { return }
        filled += got
      }
    }
  }
}

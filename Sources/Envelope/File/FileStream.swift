internal import KMSCore
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
  /// - Parameter progress: bytes of plaintext done since the call before; may throw to stop.
  public static func seal(
    from source: FileDescriptor, to target: FileDescriptor, key: borrowing ContentKey, context: EncryptionContext,
    progress: (Int) throws -> Void
  ) throws {
    let body = try FileBody(key: key, context: context)
    _ = try target.writeAll(body.head)
    try forEachSegment(of: source, size: FileBody.plaintextSize) { plaintext, index, isLast in
      let sealed = try [UInt8](capacity: plaintext.count + 16) { output in
        try body.seal(plaintext.span, segment: index, isLast: isLast, into: &output)
      }
      _ = try target.writeAll(sealed)
      try progress(plaintext.count)
    }
  }

  /// Decrypts the body that `source` stands before. A segment is written only after it was authenticated.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen``, ``KMSError/Code/malformedEnvelope``, or an `Errno`.
  public static func open(
    from source: FileDescriptor, to target: FileDescriptor, key: borrowing ContentKey, context: EncryptionContext,
    progress: (Int) throws -> Void
  ) throws {
    let body = try FileBody(key: key, context: context, head: source.readFully(upTo: FileBody.headSize))
    try forEachSegment(of: source, size: FileBody.sealedSize) { sealed, index, isLast in
      let plaintext = try [UInt8](capacity: max(0, sealed.count - 16)) { output in
        try body.open(sealed.span, segment: index, isLast: isLast, into: &output)
      }
      _ = try target.writeAll(plaintext)
      try progress(plaintext.count)
    }
  }

  /// Opens each segment of the body that `source` stands before, and seals it under another key: a new body of the
  /// same length.
  ///
  /// - Throws: as ``open(from:to:key:context:progress:)``.
  public static func reseal(
    from source: FileDescriptor, _ oldKey: borrowing ContentKey, to target: FileDescriptor,
    _ newKey: borrowing ContentKey, context: EncryptionContext, progress: (Int) throws -> Void
  ) throws {
    let old = try FileBody(key: oldKey, context: context, head: source.readFully(upTo: FileBody.headSize))
    let new = try FileBody(key: newKey, context: context)
    _ = try target.writeAll(new.head)
    try forEachSegment(of: source, size: FileBody.sealedSize) { sealed, index, isLast in
      let plaintext = try [UInt8](capacity: max(0, sealed.count - 16)) { output in
        try old.open(sealed.span, segment: index, isLast: isLast, into: &output)
      }
      let resealed = try [UInt8](capacity: plaintext.count + 16) { output in
        try new.seal(plaintext.span, segment: index, isLast: isLast, into: &output)
      }
      _ = try target.writeAll(resealed)
      try progress(plaintext.count)
    }
  }

  /// Cuts a stream into segments. A segment is the last when nothing follows it, so one is read ahead.
  private static func forEachSegment(
    of source: FileDescriptor, size: (Int) -> Int,
    _ body: (_ segment: [UInt8], _ index: Int, _ isLast: Bool) throws -> Void
  ) throws {
    var index = 0
    var segment = try source.readFully(upTo: size(0))
    while true {
      let isShort = segment.count < size(index)
      let next = isShort ? [] : try source.readFully(upTo: size(index + 1))
      try body(segment, index, next.isEmpty)
      if next.isEmpty { return }
      segment = next
      index += 1
    }
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

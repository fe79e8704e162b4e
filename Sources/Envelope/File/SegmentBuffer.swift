internal import Glibc
internal import KMSCore
internal import SystemPackage

/// Room for one segment, used again and again, and wiped when it goes.
@safe
struct SegmentBuffer: ~Copyable {
  /// A segment, and the byte behind it.
  static let capacity = FileBody.segmentSize + 1

  private let memory: UnsafeMutableBufferPointer<UInt8>
  private(set) var count = 0
  /// How much of the memory ever held something.
  private var used = 0

  init() {
    // Some processors copy at a fifth of their speed to an address that is up to 63 bytes further behind the start of a
    // page than where it comes from. Headers and segments stand at multiples of 64, as the start of a page does.
    unsafe memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.capacity, alignment: 4096)
      .bindMemory(to: UInt8.self)  // freed in deinit
  }

  deinit {
    unsafe explicit_bzero(memory.baseAddress!, used)  // within the memory
    unsafe memory.deallocate()  // ours alone
  }

  /// The content, for the length of the call.
  borrowing func withBytes<Result>(_ body: (Span<UInt8>) throws -> Result) throws -> Result {
    try body(unsafe Span(_unsafeElements: UnsafeBufferPointer(rebasing: memory[..<count])))  // lives as long as self
  }

  /// Replaces the content by what `body` writes.
  mutating func fill(_ body: (inout OutputSpan<UInt8>) throws -> Void) throws {
    let before = used
    (count, used) = (0, Self.capacity)  // what it leaves when it throws is not known
    var output = unsafe OutputSpan(buffer: memory, initializedCount: 0)  // for the call
    try body(&output)
    count = unsafe output.finalize(for: memory)  // of this buffer
    used = max(before, count)
  }

  /// Replaces the content by `first` and what follows in `source`, `size` bytes in all or fewer at its end.
  mutating func read(_ first: UInt8?, from source: FileDescriptor, upTo size: Int) throws {
    count = 0
    if let first {
      unsafe memory[0] = first  // within the memory
      count = 1
    }
    while count < size {
      let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(memory)[count..<size])
      let got = try unsafe source.read(into: rest)  // within the memory; for the call
      if got == 0 { break }
      count += got
      used = max(used, count)
    }
  }

  /// Replaces the content by `size` bytes from `offset` on.
  ///
  /// - Throws: an `Errno`; ``KMSError/Code/fileFailed`` when the file ends before.
  mutating func read(from source: FileDescriptor, at offset: Int, count size: Int) throws {
    count = 0
    while count < size {
      let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(memory)[count..<size])
      let got = try unsafe source.read(fromAbsoluteOffset: Int64(offset + count), into: rest)  // as above
      guard got > 0 else {
        throw KMSError(
          .fileFailed, "the file became shorter while it was read", advice: "Try again, or take a good copy.")
      }
      count += got
      used = max(used, count)
    }
  }

  /// Appends a part of the content to `output`, which must have room for it.
  borrowing func copy(_ part: Range<Int>, to output: inout OutputSpan<UInt8>) {
    precondition(part.upperBound <= count && output.freeCapacity >= part.count, "there is no such part, or no room")
    unsafe output.withUnsafeMutableBufferPointer { buffer, filled in  // there is room, as was looked
      unsafe (buffer.baseAddress! + filled).initialize(
        from: memory.baseAddress! + part.lowerBound, count: part.count)  // two buffers
      filled += part.count
    }
  }

  /// Takes the byte behind the first `size` off, if there is one.
  mutating func cut(to size: Int) -> UInt8? {
    guard count > size else { return nil }
    count = size
    return unsafe memory[size]  // within the memory: `count` was more
  }

  /// Writes the content, or a part of it.
  borrowing func write(_ part: Range<Int>? = nil, to target: FileDescriptor) throws {
    let bytes = (part ?? 0..<count).clamped(to: 0..<count)
    let content = unsafe UnsafeRawBufferPointer(UnsafeMutableRawBufferPointer(memory))[bytes]  // for the call
    _ = try unsafe target.writeAll(content)  // within the memory
  }
}

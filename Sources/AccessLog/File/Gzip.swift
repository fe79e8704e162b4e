internal import CISAL
import DurableFiles
import Glibc
import KMSCore
import SystemPackage

/// Reads a file in chunks; one whose name ends in `.gz` is unpacked (RFC 1952). A file that was compressed since it
/// was found is read as such.
@safe
final class ChunkSource {
  private let file: FileDescriptor
  private let path: FilePath
  private var stream: UnsafeMutablePointer<inflate_state>?
  private var input: [UInt8] = []
  private var consumed = 0
  private var isAtEnd = false
  /// More may come without further input.
  private var isFull = false

  static let chunk = 1 << 18

  init(_ path: FilePath) throws {
    var path = path
    do {
      file = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    } catch let error as Errno {
      let packed = FilePath(path.string + ".gz")
      guard error == .noSuchFileOrDirectory,
        let file = try? FileDescriptor.open(packed, .readOnly, options: .closeOnExec)
      else { throw FileFailure.error("read", path, error) }
      self.file = file
      path = packed
    }
    self.path = path
    guard path.extension == "gz" else { return }
    guard let stream = unsafe strongroom_gunzip_begin() else { fatalError("out of memory") }  // ours from here on
    unsafe self.stream = stream  // this object alone has it
  }

  deinit {
    try? file.close()
    if let stream = unsafe stream { unsafe free(stream) }  // from malloc
  }

  /// The next bytes; none at the end.
  func next() throws -> [UInt8] {
    guard let stream = unsafe stream else { return try read() }  // this object alone has it
    while true {
      if consumed == input.count, !isAtEnd, !isFull {
        input = try read()
        consumed = 0
        // Cut off inside the stream.
        if input.isEmpty { throw Self.damaged(path) }
      }
      if isAtEnd {
        guard try consumed == input.count && read().isEmpty else { throw Self.damaged(path) }
        return []
      }
      let output = try unsafe [UInt8](unsafeUninitializedCapacity: Self.chunk) { memory, count in  // inflate fills it
        try unsafe input.withUnsafeMutableBufferPointer { input in  // for the call only
          unsafe stream.pointee.next_in = input.baseAddress.map { unsafe $0 + consumed }  // outlives the call
          unsafe stream.pointee.avail_in = UInt32(input.count - consumed)  // the same count
          unsafe stream.pointee.next_out = memory.baseAddress  // outlives the call
          unsafe stream.pointee.avail_out = UInt32(memory.count)  // the same count
          guard unsafe strongroom_gunzip(stream) == 1 else { throw Self.damaged(path) }  // our stream
          isAtEnd = unsafe strongroom_gunzip_is_finished(stream) == 1  // our stream
          consumed = unsafe input.count - Int(stream.pointee.avail_in)  // the same count
          count = unsafe memory.count - Int(stream.pointee.avail_out)  // the same count
        }
      }
      isFull = output.count == Self.chunk
      if !output.isEmpty { return output }
    }
  }

  private func read() throws -> [UInt8] {
    try FileFailure.mapping("read", path) {
      try unsafe [UInt8](unsafeUninitializedCapacity: Self.chunk) { memory, count in  // read() fills it
        count = try unsafe file.read(into: UnsafeMutableRawBufferPointer(memory))  // within its capacity
      }
    }
  }

  private static func damaged(_ path: FilePath) -> KMSError {
    KMSError(.fileFailed, "\(path) is no whole gzip file", advice: "Restore it from a good copy.")
  }
}

/// Puts `path.gz` in the place of a file that will not be written any more.
func compress(_ path: FilePath) throws {
  let source = try ChunkSource(path)
  let packed = FilePath(path.string + ".gz")
  let file = try AtomicFile(packed, replacing: true)
  guard let stream = unsafe strongroom_gzip_begin() else { fatalError("out of memory") }  // our stream
  defer { unsafe free(stream) }  // from malloc
  var isLast = false
  while !isLast {
    var input = try source.next()
    isLast = input.isEmpty
    var isFull: Bool
    repeat {
      let output = unsafe [UInt8](unsafeUninitializedCapacity: ChunkSource.chunk) { memory, count in  // filled here
        unsafe input.withUnsafeMutableBufferPointer { input in  // for the call only
          unsafe stream.pointee.next_in = input.baseAddress  // outlives the call
          unsafe stream.pointee.avail_in = UInt32(input.count)  // the same count
          unsafe stream.pointee.next_out = memory.baseAddress  // outlives the call
          unsafe stream.pointee.avail_out = UInt32(memory.count)  // the same count
          unsafe stream.pointee.end_of_stream = isLast ? 1 : 0  // our stream
          let result = unsafe isal_deflate(stream)  // our stream
          precondition(result == COMP_OK)  // only what we set in it can be wrong
          count = unsafe memory.count - Int(stream.pointee.avail_out)  // the same count
        }
      }
      input = Array(input.suffix(Int(unsafe stream.pointee.avail_in)))  // the same count
      isFull = output.count == ChunkSource.chunk
      try file.write(output)
    } while isFull || !input.isEmpty
  }
  // The time of its last record says how long it is kept.
  if let status = try FileStatus(path) {
    let time = timespec(tv_sec: Int(status.modified / 1_000_000_000), tv_nsec: Int(status.modified % 1_000_000_000))
    _ = unsafe futimens(file.descriptor.rawValue, [time, time])  // two, for the call only
  }
  try file.commit()
  guard unsafe unlink(path.string) == 0 else {  // a Swift string, for the call only
    throw FileFailure.error("remove", path, Errno(rawValue: errno))
  }
}

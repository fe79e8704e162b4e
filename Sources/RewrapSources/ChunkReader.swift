internal import DurableFiles
internal import Envelope
internal import KMSCore
internal import SystemPackage

/// Reads a file piece by piece, cut where the caller says.
struct ChunkReader {
  private let file: OpenFile
  private var buffer: [UInt8] = []
  private var start = 0
  private var isAll = false
  private var position: Int64 = 0

  private static let chunk = 256 << 10
  private static let longestRecord = 64 << 20

  init(_ path: FilePath) throws { file = try OpenFile(path) }

  var status: FileStatus { file.status }

  var fractionDone: Double { file.status.size > 0 ? min(1, Double(position) / Double(file.status.size)) : 1 }

  /// Whether the file under this name is still the one that was opened, as it was then.
  func isUnchanged() throws -> Bool { try FileStatus(file.path) == file.status }

  /// The next piece; nil at the end.
  ///
  /// - Parameter length: how long the piece is that the bytes begin with; nil when it needs more of them. Its second
  ///   argument says that there are no more.
  mutating func next(_ length: (ArraySlice<UInt8>, Bool) throws -> Int?) throws -> [UInt8]? {
    while true {
      if start == buffer.count, isAll { return nil }
      if let count = try length(buffer[start...], isAll) {
        defer {
          start += count
          position += Int64(count)
        }
        return Array(buffer[start..<start + count])
      }
      guard !isAll, buffer.count - start < Self.longestRecord else {
        throw KMSError(
          .limitExceeded, "a record of \(file.path) is longer than \(Self.longestRecord) bytes",
          advice: "Is it a table of the format that was named?")
      }
      buffer.removeSubrange(..<start)
      start = 0
      let more = try FileFailure.mapping("read", file.path) { try file.descriptor.readFully(upTo: Self.chunk) }
      isAll = more.count < Self.chunk
      buffer += more
    }
  }

  /// A class only because a descriptor is closed once.
  private final class OpenFile {
    let path: FilePath
    let descriptor: FileDescriptor
    let status: FileStatus

    init(_ path: FilePath) throws {
      self.path = path
      (descriptor, status) = try FileFailure.mapping("read", path) {
        let descriptor = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
        do {
          let status = try FileStatus(descriptor)
          guard !status.isFolder else { throw Errno.isDirectory }
          return (descriptor, status)
        } catch {
          try? descriptor.close()
          throw error
        }
      }
    }

    deinit { try? descriptor.close() }
  }
}

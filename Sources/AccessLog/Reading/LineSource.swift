internal import CLinux
import Glibc
import SystemPackage

/// Whether `text` stands in the line.
func contains(_ line: ArraySlice<UInt8>, _ text: [UInt8]) -> Bool {
  unsafe line.withUnsafeBytes { line in  // both for the call only
    unsafe text.withUnsafeBytes { text in  // as above
      unsafe linux_contains(line.baseAddress, line.count, text.baseAddress, text.count) == 1  // as above
    }
  }
}

/// The lines of a log file, one after the other, in constant memory.
final class LineSource {
  private let chunks: ChunkSource
  private var buffer: [UInt8] = []
  private var position = 0
  private(set) var isAtEnd = false
  /// Bytes up to the end of the last line that was given, unpacked.
  private(set) var offset = 0
  /// Of the last line that was given, from 1.
  private(set) var number = 0

  /// No line that is written is nearly as long.
  static let longestLine = 1 << 20

  init(_ path: FilePath) throws { chunks = try ChunkSource(path) }

  /// The next line without its newline; `isWhole` is false for one that has none, or is too long to be one.
  func next() throws -> (line: ArraySlice<UInt8>, isWhole: Bool)? {
    var searched = position
    var isTooLong = false
    while true {
      if let end = newline(from: searched) {
        let start = position
        position = end + 1
        offset += end + 1 - start
        number += 1
        return (buffer[start..<end], !isTooLong)
      }
      if isAtEnd {
        guard position < buffer.count || isTooLong else { return nil }
        let start = position
        position = buffer.count
        number += 1
        return (buffer[start...], false)
      }
      if buffer.count - position > Self.longestLine {
        isTooLong = true
        offset += buffer.count - position
        position = buffer.count
      }
      searched = buffer.count - position
      try fill()
    }
  }

  private func newline(from start: Int) -> Int? {
    unsafe buffer.withUnsafeBytes { bytes in  // for the call only
      guard start < bytes.count, let base = bytes.baseAddress,
        let found = unsafe memchr(base + start, 0x0A, bytes.count - start)  // within `bytes`
      else { return nil }
      return unsafe UnsafeRawPointer(found) - base  // in the same bytes
    }
  }

  private func fill() throws {
    let chunk = try chunks.next()
    isAtEnd = chunk.isEmpty
    if position == buffer.count { buffer = chunk } else { buffer = buffer[position...] + chunk }
    position = 0
  }
}

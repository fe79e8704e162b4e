import DurableFiles
import KMSCore
import SystemPackage

/// Reads one log file record by record, in constant memory.
final class LogFileCursor {
  private let path: FilePath
  private let file: FileDescriptor
  private var buffer: [UInt8] = []
  private var position = 0
  private var isAtEnd = false
  private var lineNumber = 0
  /// The next record; nil when the file is read.
  private(set) var record: AccessRecord?
  /// Time of ``record``.
  private(set) var next = Timestamp(nanoseconds: .max)
  /// Bytes of ``record``'s line, without the newline.
  private(set) var line: ArraySlice<UInt8> = []

  /// No line that is written is nearly as long.
  static let longestLine = 1 << 20
  private static let chunk = 1 << 16

  /// Stands at the first record.
  init(_ path: FilePath, damage: inout DamagedLines) throws {
    self.path = path
    file = try FileFailure.mapping("read", path) { try FileDescriptor.open(path, .readOnly, options: .closeOnExec) }
    try advance(&damage)
  }

  /// Goes to the next record. Lines that are none are told in `damage`.
  func advance(_ damage: inout DamagedLines) throws {
    record = nil
    while let (line, isWhole) = try nextLine() {
      lineNumber += 1
      if !isWhole {
        damage.add(path, lineNumber, isAtEnd ? .torn : .tooLong)
      } else if let record = AccessRecord(line: line) {
        self.record = record
        next = record.timestamp
        self.line = line
        return
      } else {
        damage.add(path, lineNumber, .notARecord)
      }
    }
  }

  private func nextLine() throws -> (ArraySlice<UInt8>, isWhole: Bool)? {
    var searched = position
    var isTooLong = false
    while true {
      if let end = buffer[searched...].firstIndex(of: 0x0A) {
        defer { position = end + 1 }
        return (buffer[position..<end], !isTooLong)
      }
      if isAtEnd {
        defer { position = buffer.count }
        return position < buffer.count || isTooLong ? (buffer[position...], false) : nil
      }
      if buffer.count - position > Self.longestLine {
        isTooLong = true
        position = buffer.count
      }
      try fill()
      searched = max(position, buffer.count - Self.chunk)
    }
  }

  private func fill() throws {
    line = []
    buffer.removeSubrange(..<position)
    position = 0
    let chunk = try FileFailure.mapping("read", path) {
      try unsafe [UInt8](unsafeUninitializedCapacity: Self.chunk) { memory, count in  // read() fills it
        count = try unsafe file.read(into: UnsafeMutableRawBufferPointer(memory))  // within its capacity
      }
    }
    isAtEnd = chunk.isEmpty
    buffer += chunk
  }

  deinit { try? file.close() }
}

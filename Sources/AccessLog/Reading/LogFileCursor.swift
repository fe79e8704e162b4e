import DurableFiles
import KMSCore
import SystemPackage

/// Reads one log file record by record, in constant memory.
final class LogFileCursor {
  private let path: FilePath
  private let lines: LineSource
  private let prefilter: LinePrefilter?
  /// Records that were passed over unread.
  private(set) var skipped = 0
  /// The next record; nil when the file is read.
  private(set) var record: AccessRecord?
  /// Time of ``record``.
  private(set) var next = Timestamp(nanoseconds: .max)
  /// Bytes of ``record``'s line, without the newline.
  private(set) var line: ArraySlice<UInt8> = []

  /// Stands at the first record.
  ///
  /// - Parameter prefilter: lines that it does not want are passed over.
  init(_ path: FilePath, _ prefilter: LinePrefilter? = nil, damage: inout DamagedLines) throws {
    self.path = path
    self.prefilter = prefilter
    lines = try LineSource(path)
    try advance(&damage)
  }

  /// Goes to the next record. Lines that are none are told in `damage`.
  func advance(_ damage: inout DamagedLines) throws {
    record = nil
    skipped = 0
    line = []  // so that the lines' memory is used again
    while let (line, isWhole) = try lines.next() {
      if !isWhole {
        damage.add(path, lines.number, lines.isAtEnd ? .torn : .tooLong)
      } else if let prefilter, !prefilter.isWorthReading(line) {
        skipped += 1
      } else if let record = AccessRecord(line: line) {
        self.record = record
        next = record.timestamp
        self.line = line
        return
      } else if EventLine.note(in: line) == nil {
        damage.add(path, lines.number, .notARecord)
      }
    }
  }
}

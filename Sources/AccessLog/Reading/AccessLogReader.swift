import DurableFiles
internal import KMSCore
public import SystemPackage

/// Reads the access log of a folder, all its writers' files together, in constant memory.
public struct AccessLogReader: Sendable {
  /// What was read.
  public struct Summary: Sendable, Hashable {
    /// Files that were read.
    public var files = 0
    /// Records in them.
    public var records = 0
    /// Records that the filter let through.
    public var matched = 0
    /// Lines that are no records.
    public var damaged = DamagedLines()
  }

  private let directory: FilePath

  /// - Parameter directory: folder of the log; one that is not there is an empty log.
  public init(directory: FilePath) { self.directory = directory }

  /// Gives `body` every matching record with its line (JSON, without the newline), the earliest first.
  ///
  /// A file is opened when time has come to its beginning, so few are open at once. The lines of one file stay in
  /// their order, also where its clock was set back. Damaged lines are passed over and told in the summary.
  /// - Throws: what `body` throws; ``KMSError/Code/fileFailed`` or ``KMSError/Code/accessDenied`` for a file that
  ///   cannot be read.
  @discardableResult
  public func forEach(
    matching filter: AccessFilter = AccessFilter(), _ body: (AccessRecord, _ line: ArraySlice<UInt8>) throws -> Void
  ) throws -> Summary {
    var summary = Summary()
    var waiting = try files().filter { file in
      try filter.until.map { file.started < $0 } != false
        && filter.since.map { try wasWritten(file, since: $0) } != false
    }[...]
    var open: [LogFileCursor] = []
    let filterOfLines = LinePrefilter(filter)
    let prefilter = filterOfLines.restricts ? filterOfLines : nil
    while true {
      var first = open.min { $0.next < $1.next }
      while let file = waiting.first, first.map({ file.started <= $0.next }) != false {
        waiting.removeFirst()
        summary.files += 1
        let opened = try LogFileCursor(directory.appending(file.description), prefilter, damage: &summary.damaged)
        summary.records += opened.skipped
        guard opened.record != nil else { continue }
        open.append(opened)
        if first.map({ opened.next < $0.next }) != false { first = opened }
      }
      guard let first, let record = first.record else { return summary }
      summary.records += 1
      if filter.matches(record) {
        summary.matched += 1
        try body(record, first.line)
      }
      try first.advance(&summary.damaged)
      summary.records += first.skipped
      if first.record == nil { open.removeAll { $0 === first } }
    }
  }

  /// False when nothing was written to the file for so long that it can hold no record of the period: years of log
  /// need not be read for the last hour. A minute more, as a file's time runs some milliseconds behind the clock.
  private func wasWritten(_ file: LogFileName, since: Timestamp) throws -> Bool {
    guard let status = try FileStatus(directory.appending(file.description)) else { return true }
    return Timestamp(nanoseconds: status.modified) >= since.advanced(by: .seconds(-60))
  }

  private func files() throws -> [LogFileName] {
    guard try FileStatus(directory) != nil else { return [] }
    return try LogFileName.all(in: directory)
  }
}

/// Something in a sealed log that is not as it was written, and where.
public struct LogFinding: Sendable, Hashable, CustomStringConvertible {
  /// What is wrong.
  public struct Kind: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public var description: String { rawValue }

    /// Records were changed, somewhere between two checkpoints.
    public static let changed = Self(rawValue: "changed")
    /// Records are missing: cut out, or their file is gone.
    public static let missing = Self(rawValue: "missing")
    /// A record stands twice.
    public static let duplicated = Self(rawValue: "duplicated")
    /// A record stands where it does not belong: inserted, or moved.
    public static let outOfPlace = Self(rawValue: "out-of-place")
    /// A line that is no record.
    public static let notARecord = Self(rawValue: "not-a-record")
    /// A checkpoint that the key did not sign, or that is about something else.
    public static let forgedCheckpoint = Self(rawValue: "forged-checkpoint")
    /// A checkpoint should be there and is not.
    public static let missingCheckpoint = Self(rawValue: "missing-checkpoint")
    /// The log stops without its last record: its tail was cut, or its writer died and nobody closed it.
    public static let cut = Self(rawValue: "cut")
    /// Nothing was logged for longer than heartbeats are apart.
    public static let silence = Self(rawValue: "silence")
    /// A whole log, with every file of its writer, is gone.
    public static let missingLog = Self(rawValue: "missing-log")
    /// A file that belongs to no log, or to another name.
    public static let foreignFile = Self(rawValue: "foreign-file")
    /// The index of writers was changed.
    public static let index = Self(rawValue: "index")
    /// A record of a deletion that the key did not sign, or of one that came too early.
    public static let removal = Self(rawValue: "removal")
    /// A file that cannot be read.
    public static let unreadable = Self(rawValue: "unreadable")
  }

  /// What is wrong.
  public let kind: Kind
  /// Name of the file in the folder.
  public let file: String
  /// Line in it, from 1, where there is one.
  public let line: Int?
  /// Numbers of the records that are concerned, where they are known.
  public let sequences: ClosedRange<UInt64>?
  /// For a person.
  public let detail: String

  /// Its writer was late, or could not have anything signed: which is nobody's doing, or what nobody did.
  var isOfTime: Bool { kind == .silence || kind == .missingCheckpoint }

  public var description: String {
    var text = file + (line.map { ":\($0)" } ?? "") + ": \(kind): \(detail)"
    if let sequences {
      text +=
        sequences.lowerBound == sequences.upperBound
        ? " (record \(sequences.lowerBound))" : " (records \(sequences.lowerBound) to \(sequences.upperBound))"
    }
    return text
  }
}

/// What a verification saw.
public struct LogVerification: Sendable {
  /// Nothing: the log is as it was written.
  public internal(set) var findings: [LogFinding] = []
  /// So many are listed; all are counted.
  public static let limit = 1000
  /// All findings, listed or not.
  public internal(set) var findingCount = 0
  /// Files that were read.
  public internal(set) var files = 0
  /// Writers' logs in the folder.
  public internal(set) var logs = 0
  /// Records that were read.
  public internal(set) var records: UInt64 = 0
  /// Of them, those that a checkpoint covers.
  public internal(set) var signed: UInt64 = 0
  /// Checkpoints with a good signature and the right root.
  public internal(set) var checkpoints = 0
  /// Files that were deleted after their time, with a signed record of it.
  public internal(set) var removed = 0
  /// Logs that are written now: their last records have no checkpoint yet.
  public internal(set) var open = 0
  /// Logs that another process ended, as their writers had died: how late, and what the writers last did, nobody saw.
  public internal(set) var crashed = 0

  /// Whether all is as it was written.
  public var isSound: Bool { findingCount == 0 }

  /// All of it as one JSON object in one line.
  public var json: String {
    let bytes = JSONLine.object { line in
      line.put("sound", flag: isSound)
      line.put("records", number: Int64(clamping: records))
      line.put("signed", number: Int64(clamping: signed))
      line.put("files", number: Int64(files))
      line.put("logs", number: Int64(logs))
      line.put("checkpoints", number: Int64(checkpoints))
      line.put("removed", number: Int64(removed))
      line.put("open", number: Int64(open))
      line.put("crashed", number: Int64(crashed))
      line.put("finding_count", number: Int64(findingCount))
      line.objects("findings", findings) { finding, line in
        line.put("kind", finding.kind.rawValue)
        line.put("file", finding.file)
        line.put("line", number: finding.line.map { Int64($0) })
        line.put("first", number: finding.sequences.map { Int64(clamping: $0.lowerBound) })
        line.put("last", number: finding.sequences.map { Int64(clamping: $0.upperBound) })
        line.put("detail", finding.detail)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Whether nobody but its writer wrote it, as far as it was read.
  ///
  /// - Parameter torn: the line that a crash left half, where it did.
  func isAsWritten(torn: Int? = nil) -> Bool {
    findings.count == findingCount
      && findings.allSatisfy { $0.isOfTime || ($0.kind == .notARecord && $0.line == torn) }
  }

  mutating func add(
    _ kind: LogFinding.Kind, _ file: String, line: Int? = nil, _ sequences: ClosedRange<UInt64>? = nil,
    _ detail: String
  ) {
    findingCount += 1
    guard findings.count < Self.limit else { return }
    findings.append(LogFinding(kind: kind, file: file, line: line, sequences: sequences, detail: detail))
  }
}

import CryptoPrimitives
public import KMSCore
public import SystemPackage

/// That one record is in a signed log, for somebody who has nothing else of it (C2SP tlog-proof; the record itself is
/// the `extra` line).
public struct LogProof: Sendable, Hashable, CustomStringConvertible {
  private static let header = "c2sp.org/tlog-proof@v1"

  /// The record: its line without the newline.
  public let record: [UInt8]
  /// Its number in the log, from 0.
  public let index: UInt64
  let path: [TreeHash]
  let checkpoint: SignedNote

  public var description: String {
    """
    \(Self.header)
    extra \(Base64.encode(record))
    index \(index)

    """ + path.map { Base64.encode($0.bytes) + "\n" }.joined() + "\n" + checkpoint.description
  }

  init(record: [UInt8], index: UInt64, path: [TreeHash], checkpoint: SignedNote) {
    self.record = record
    self.index = index
    self.path = path
    self.checkpoint = checkpoint
  }

  /// - Throws: ``KMSError/Code/invalidInput`` for a text that is no such proof.
  public init(parsing text: String) throws(KMSError) {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let invalid = KMSError(
      .invalidInput, "this is no proof of a record", advice: "Give what 'strongroom log prove' printed.")
    guard lines.count > 4, lines[0] == Self.header, lines[1].hasPrefix("extra "), lines[2].hasPrefix("index "),
      let record = Base64.decode(lines[1].dropFirst(6)), let index = UInt64(lines[2].dropFirst(6)),
      let blank = lines.firstIndex(of: ""), blank >= 3, blank < 3 + 64,
      let note = SignedNote(lines[(blank + 1)...].joined(separator: "\n"))
    else { throw invalid }
    let path = lines[3..<blank].compactMap { Base64.decode($0).flatMap { TreeHash($0) } }
    self.init(record: record, index: index, path: path, checkpoint: note)
    guard description == text else { throw invalid }
  }

  /// Name of the log, and how many records the checkpoint covers, when the proof holds; nil when it does not.
  public func verified(by keys: [LogVerifierKey]) -> (log: String, size: UInt64)? {
    var hasher = TreeHasher()
    guard keys.contains(where: { $0.verifies(checkpoint) }), let head = Checkpoint(text: checkpoint.text),
      verifyInclusion(hasher.leaf(record.span), index: index, size: head.size, path: path, root: head.root)
    else { return nil }
    return (head.origin, head.size)
  }
}

extension LogProof {
  /// The proof of a record of a folder's log.
  ///
  /// - Parameters:
  ///   - sequence: the record's number in its writer's log.
  ///   - log: which writer's; may be nil when only one has that number.
  /// - Throws: ``KMSError/Code/invalidInput`` when more than one log has such a record,
  ///   ``KMSError/Code/fileNotFound`` when none has, or no checkpoint covers it yet.
  public static func make(of sequence: UInt64, log: String? = nil, in directory: FilePath) throws -> LogProof {
    var logs: [String: [(path: FilePath, introduction: FileIntroduction)]] = [:]
    for name in try LogFileName.all(in: directory) {
      let path = directory.appending(name.description)
      guard let introduction = try FileIntroduction(of: path), log == nil || introduction.origin == log else {
        continue
      }
      logs[introduction.origin, default: []].append((path, introduction))
    }
    var found: [LogProof] = []
    for files in logs.values.map({ $0.sorted { $0.introduction.tree.size < $1.introduction.tree.size } }) {
      guard sequence > 0, files[0].introduction.tree.size < sequence else { continue }
      if let proof = try make(of: sequence - 1, files.map(\.path), start: files[0].introduction.tree) {
        found.append(proof)
      }
    }
    guard let proof = found.first else {
      throw KMSError(
        .fileNotFound, "no checkpoint covers a record \(sequence)\(log.map { " of \($0)" } ?? "")",
        advice: "Checkpoints come every minute; 'strongroom log show --json' prints the records' numbers.")
    }
    guard found.count == 1 else {
      let origins = found.compactMap { Checkpoint(text: $0.checkpoint.text)?.origin }.sorted()
      throw KMSError(
        .invalidInput, "\(found.count) logs have a record \(sequence)",
        advice: "Say which with --log: \(origins.prefix(5).joined(separator: ", "))\(origins.count > 5 ? " …" : "").")
    }
    return proof
  }

  private static func make(
    of index: UInt64, _ files: [FilePath], start: MerkleFrontier
  ) throws -> LogProof? {
    // First, which checkpoint; then the path in its tree.
    var note: SignedNote?
    var record: [UInt8] = []
    try forEachLine(files) { line in
      if line.starts(with: EventLine.checkpointPrefix) {
        guard let found = EventLine.note(in: line), let head = Checkpoint(text: found.text), head.size > index else {
          return true
        }
        note = found
        return false
      }
      if record.isEmpty, RecordHead(line)?.sequence == index + 1 { record = Array(line) }
      return true
    }
    guard let note, let head = Checkpoint(text: note.text), !record.isEmpty else { return nil }
    var builder = InclusionProofBuilder(start: start, index: index, size: head.size)
    var hasher = TreeHasher()
    try forEachLine(files) { line in
      if !line.starts(with: EventLine.checkpointPrefix) { builder.append(hasher.leaf(line.span)) }
      return !builder.isComplete
    }
    guard let (path, root) = builder.finish(), root == head.root else { return nil }
    return LogProof(record: record, index: index, path: path, checkpoint: note)
  }

  private static func forEachLine(_ files: [FilePath], _ body: (ArraySlice<UInt8>) -> Bool) throws {
    for file in files {
      let lines = try LineSource(file)
      while let (line, isWhole) = try lines.next() {
        if isWhole, !body(line) { return }
      }
    }
  }
}

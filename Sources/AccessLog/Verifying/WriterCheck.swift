import CryptoPrimitives
import KMSCore
import SystemPackage

/// Follows the records of one writer through its files.
struct WriterCheck: ~Copyable {
  private let origin: String
  private let keys: [LogVerifierKey]
  private var hasher = TreeHasher()
  /// The tree that the last checkpoint signed, or that a file says it begins with.
  private var base = MerkleFrontier()
  /// Records since.
  private var pending: [TreeHash] = []
  /// Pending records are as far as the last checkpoint can tell: nil after a finding that breaks the tree.
  private var isIntact = true
  private var last: (head: RecordHead, line: Int, leaf: TreeHash)?
  /// Size of the checkpoint in the line before.
  private var signedInLineBefore: UInt64?
  private(set) var file = ""
  private(set) var hasEnded = false
  /// Whether the index has its end.
  private var isListed = false
  /// Whether another process ended it.
  private var wasClosed = false
  /// How many records the last good checkpoint covers.
  private(set) var signed: UInt64 = 0
  private var lastSigned: Timestamp?
  /// Records that were deleted after their time: a checkpoint of no more than these has nothing to be compared with.
  private var deleted: UInt64 = 0
  private var isOverdue = false

  private let patience: Duration
  private let progress: UpkeepProgress?

  init(origin: String, keys: [LogVerifierKey], patience: Duration, progress: UpkeepProgress? = nil) {
    self.origin = origin
    self.keys = keys
    self.patience = patience
    self.progress = progress
  }

  var lastHead: RecordHead? { last?.head }
  private var next: UInt64 { base.size + UInt64(pending.count) + 1 }

  /// One more file, in the order in which they were written.
  ///
  /// - Parameter removed: whether the records up to a number were deleted after their time.
  mutating func read(
    _ name: LogFileName, in directory: FilePath, _ introduction: FileIntroduction,
    removed: (UInt64) -> Bool, _ result: inout LogVerification
  ) throws {
    let lines = try LineSource(directory.appending(name.description))
    file = name.description
    begin(introduction, removed: removed, &result)
    while let (line, isWhole) = try lines.next() {
      if lines.number % 4096 == 0 { progress?.step() }
      guard isWhole else {
        result.add(.notARecord, file, line: lines.number, nil, "a line without an end")
        continue
      }
      if line.starts(with: EventLine.checkpointPrefix) {
        check(checkpoint: line, lines.number, &result)
      } else {
        check(record: line, lines.number, &result)
      }
    }
  }

  private mutating func begin(
    _ introduction: FileIntroduction, removed: (UInt64) -> Bool, _ result: inout LogVerification
  ) {
    let start = introduction.tree.size
    if last == nil, start > 0, removed(start) {
      deleted = start
    } else if start + 1 > next {
      result.add(.missing, file, line: 1, next...start, "the records before this file are gone")
    }
    if start + 1 == next, isIntact {
      let now = tree(pending.count)
      if now != introduction.tree {
        result.add(.changed, file, line: 1, base.size + 1...max(base.size + 1, start), "the file before was changed")
      } else {
        return
      }
    }
    guard start + 1 >= next || !isIntact else { return }
    (base, pending, isIntact) = (introduction.tree, [], true)
  }

  private mutating func tree(_ count: Int) -> MerkleFrontier {
    var tree = base
    for leaf in pending[..<count] { tree.append(leaf, &hasher) }
    return tree
  }

  private mutating func check(record line: ArraySlice<UInt8>, _ number: Int, _ result: inout LogVerification) {
    guard let head = RecordHead(line) else {
      result.add(.notARecord, file, line: number, nil, "a line that is no record")
      return
    }
    result.records += 1
    let leaf = hasher.leaf(line.span)
    if head.sequence != next {
      if head.sequence > next {
        result.add(.missing, file, line: number, next...head.sequence - 1, "records are missing before this line")
        // What is not there has no hash: no checkpoint can be checked until a file begins with its tree.
        isIntact = false
        (base, pending) = (Self.unknown(head.sequence - 1), [])
      } else {
        let isSame = last.map { $0.leaf == leaf } ?? false
        result.add(
          isSame ? .duplicated : .outOfPlace, file, line: number, head.sequence...head.sequence,
          isSame ? "the record before stands here again" : "a record that was inserted, repeated or moved here")
        return
      }
    }
    let isClosing = head.type == .end && EventLine.isClosing(line)
    // Its writer may have died after its last record, before that was signed.
    if hasEnded && !isClosing {
      result.add(.outOfPlace, file, line: number, head.sequence...head.sequence, "a record after the log's end")
    }
    // A crash is nobody's doing, nor how late another process ended the log, if nobody had changed the file meanwhile.
    let time = isClosing ? EventLine.changed(line) ?? head.timestamp : head.timestamp
    if let last, time > last.head.timestamp.advanced(by: patience) {
      result.add(
        .silence, file, line: number, head.sequence...head.sequence,
        "nothing was logged from \(last.head.timestamp) to \(time), not even heartbeats"
          + (isClosing ? ", when the file was changed, or closed after a crash" : ""))
    }
    if head.type == .checkpoint {
      check(signing: line, head, number, &result)
    } else if let size = signedInLineBefore, !isClosing {
      result.add(.missing, file, line: number, nil, "no record says that the checkpoint of \(size) records was signed")
    }
    signedInLineBefore = nil
    if head.type == .end { (hasEnded, isListed) = (true, EventLine.isListed(line)) }
    if isClosing { wasClosed = true }
    pending.append(leaf)
    last = (head, number, leaf)
    checkAge(head, time, number, &result)
  }

  private static func unknown(_ size: UInt64) -> MerkleFrontier {
    MerkleFrontier(size: size, roots: Array(repeating: TreeHasher.empty, count: size.nonzeroBitCount)) ?? .init()
  }

  /// The record of a signature stands right after its checkpoint.
  private mutating func check(
    signing line: ArraySlice<UInt8>, _ head: RecordHead, _ number: Int, _ result: inout LogVerification
  ) {
    guard let record = AccessRecord(line: line) else { return }  // the tree tells
    guard record.success == true else { return }
    let size = signedInLineBefore
    guard size == nil || record.reason != "checkpoint of \(size ?? 0) records" else { return }
    result.add(
      .missingCheckpoint, file, line: number, head.sequence...head.sequence,
      "\(record.reason ?? "a checkpoint") was signed, and does not stand before this line")
  }

  private mutating func checkAge(
    _ head: RecordHead, _ time: Timestamp, _ number: Int, _ result: inout LogVerification
  ) {
    let since = lastSigned ?? time
    if lastSigned == nil { lastSigned = time }
    guard !isOverdue, time > since.advanced(by: patience) else { return }
    isOverdue = true
    result.add(
      .missingCheckpoint, file, line: number, base.size + 1...head.sequence,
      "no checkpoint was made from \(since) on")
  }

  private mutating func check(checkpoint line: ArraySlice<UInt8>, _ number: Int, _ result: inout LogVerification) {
    func forged(_ detail: String) { result.add(.forgedCheckpoint, file, line: number, nil, detail) }
    guard let note = EventLine.note(in: line), let checkpoint = Checkpoint(text: note.text) else {
      return forged("a checkpoint that cannot be read")
    }
    guard keys.contains(where: { $0.verifies(note) }) else {
      return forged("the checkpoint of \(checkpoint.size) records is not signed by the key")
    }
    guard checkpoint.origin == origin else { return forged("a checkpoint of another log, \(checkpoint.origin)") }
    if checkpoint.size <= deleted {
      signedInLineBefore = checkpoint.size
      return
    }
    guard checkpoint.size > base.size else {
      return forged("a checkpoint that stood before, of \(checkpoint.size) records")
    }
    guard checkpoint.size < next else {
      result.add(
        .missing, file, line: number, next...checkpoint.size, "records that this checkpoint covers are not there")
      isIntact = false
      return
    }
    signedInLineBefore = checkpoint.size
    let count = Int(checkpoint.size - base.size)
    if isIntact {
      let tree = tree(count)
      if tree.root(&hasher) == checkpoint.root {
        signed = checkpoint.size
        result.checkpoints += 1
        result.signed += UInt64(count)
      } else {
        isIntact = false
        result.add(
          .changed, file, line: number, base.size + 1...checkpoint.size,
          "records that this checkpoint covers are not what was signed")
      }
      base = tree
    } else {
      base = Self.unknown(checkpoint.size)
    }
    pending.removeFirst(count)
    (lastSigned, isOverdue) = (last?.head.timestamp, false)
  }

  /// After the last file.
  ///
  /// - Parameter end: what the index says of the log's end, if it does.
  mutating func finish(now: Timestamp, end: String? = nil, _ result: inout LogVerification) {
    let tail = base.size + UInt64(pending.count)
    if wasClosed { result.crashed += 1 }
    // The end is listed right after it is signed.
    if isListed, end == nil, pending.isEmpty, let last, last.head.timestamp.advanced(by: patience) < now {
      result.add(.index, file, line: last.line, nil, "the index does not have the log's end")
    }
    // A folder that was copied while it was written may have the index from a little later.
    if let end, isIntact, hasEnded || reasonForNoEnd(now) != nil {
      let root = tree(pending.count).root(&hasher)
      if WriterIndex.Entry(end: Checkpoint(origin: origin, size: tail, root: root)).text != end {
        result.add(
          .cut, file, line: last?.line, nil,
          "the index says that the log ended with other records: its tail was cut or changed, and it was ended anew")
      }
    }
    if hasEnded {
      guard !pending.isEmpty else { return }
      result.add(
        .missingCheckpoint, file, base.size + 1...tail,
        "the log has its last record, and no checkpoint over it")
    } else if let reason = reasonForNoEnd(now) {
      result.add(
        .cut, file, line: last?.line, pending.isEmpty ? nil : base.size + 1...tail,
        "the log stops here without a last record: \(reason)")
    } else {
      result.open += 1
    }
  }

  /// Nil for a log that is written now. It has a record of just now and, if it is not that young itself, a checkpoint:
  /// a record alone can be anybody's, but when the log was begun stands in its name, which the next writer signs.
  private func reasonForNoEnd(_ now: Timestamp) -> String? {
    guard let last, last.head.timestamp.advanced(by: patience) > now else {
      return "its tail was cut, or its writer died and no other has started since"
    }
    if last.head.timestamp > now.advanced(by: patience) { return "its last one is of a time to come" }
    return signed > 0 || LogTree.begun(origin).map { $0.advanced(by: patience) > now } == true
      ? nil : "it was begun long ago, and no checkpoint says that it is still written"
  }
}

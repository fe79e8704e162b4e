import CryptoPrimitives
import Glibc
import KMSCore
import SystemPackage

/// Writes batches of lines to the current file of one writer, and begins new files.
///
/// After a failure the file ends with a whole line again, or is left as it is and a new one begun.
struct LineWriter: ~Copyable, Sendable {
  private let settings: AccessLogSettings
  /// Nil after the file was given up: the next batch begins a new one.
  private var file: FileDescriptor?
  /// The file that was given up: its lock says until there is another that somebody writes this log.
  private var broken: FileDescriptor?
  private(set) var path: FilePath
  /// A write to the file can be held up for long, by what is no disk of this machine.
  private(set) var mayBlock: Bool
  /// Length of the whole lines in the file.
  private var size: Int64 = 0
  private var nextSequence: UInt64 = 1
  private var buffer: [UInt8] = []
  /// Where each line of the buffer ends, and whether it is a record.
  private var ends: [(end: Int, isRecord: Bool)] = []
  /// Records in the buffer that are written, and not in the tree yet; the last has the number before the next one.
  private var records: [Range<Int>] = []
  /// When the file was last seen to be in its folder still, and begun, CLOCK_MONOTONIC.
  private var checked: UInt64 = 0
  private var begun: UInt64 = monotonicNanoseconds()
  /// Nil: nothing is signed.
  private let tree: LogTree?
  /// Checkpoints to be signed.
  private var checkpoints: [Checkpoint] = []
  /// Files that will not be written any more; for whoever tidies up.
  var finished: [FilePath] = []
  /// What was written since it was last taken, where copies are wanted.
  var forCopies: [UInt8] = []

  init(_ settings: AccessLogSettings, tree: LogTree? = nil) throws(KMSError) {
    self.settings = settings
    self.tree = tree
    path = ""
    mayBlock = false
    _ = try beginFile()
  }

  /// Waits as long as the disk does.
  static func begin(_ settings: AccessLogSettings, _ tree: LogTree?) -> Result<LineWriter, KMSError> {
    do throws(KMSError) { return .success(try LineWriter(settings, tree: tree)) } catch { return .failure(error) }
  }

  /// Begins in a descriptor that is open already, so that tests can give one that fails.
  init(_ settings: AccessLogSettings, takingOwnershipOf descriptor: FileDescriptor, mayBlock: Bool? = nil) {
    self.settings = settings
    tree = nil
    file = descriptor
    path = "descriptor"
    self.mayBlock = mayBlock ?? LogFiles.mayBlock(descriptor)
  }

  /// Writes all lines, or none that a caller is told of. ``hash()`` is to follow. Lines of a log that has ended are left
  /// out, and those that begin none where none is open.
  ///
  /// - Throws: ``KMSError/Code/accessLogUnavailable``.
  mutating func write(_ lines: inout [(ticket: UInt64, line: EventLine)], now: UInt64) throws(KMSError) {
    lines.removeAll { $0.line.origin != nil && $0.line.origin != tree?.origin }
    guard isOpen ? !lines.isEmpty : lines.contains(where: { $0.line.beginsLog }) else { return }
    let file = try current(now)
    beginBatch()
    var sequence = nextSequence
    for i in lines.indices { append(&lines[i].line, &sequence) }
    try writeBatch(to: file)
  }

  /// Writes one record from where it is.
  ///
  /// - Returns: its number. Who has it is to give it to the tree.
  /// - Throws: ``KMSError/Code/accessLogUnavailable``; ``hash()`` is to follow then.
  mutating func write(_ line: inout EventLine, now: UInt64) throws(KMSError) -> UInt64 {
    let file = try current(now)
    line.number(nextSequence)
    var written = line.start
    do throws(Errno) { try put(line.bytes, &written, to: file) } catch {
      beginBatch()
      buffer += line.bytes[line.start...]
      ends.append((buffer.count, true))
      throw recover(file, written: written - line.start, after: error)
    }
    size += Int64(line.bytes.count - line.start)
    if !settings.copies.isEmpty { forCopies += line.bytes[line.start...] }
    defer { nextSequence += 1 }
    return nextSequence
  }

  private mutating func write(_ line: EventLine, to file: FileDescriptor) throws(KMSError) {
    beginBatch()
    var (line, sequence) = (line, nextSequence)
    append(&line, &sequence)
    defer { hash() }
    try writeBatch(to: file)
  }

  private mutating func beginBatch() {
    hash()  // else what the buffer held would be missing in the tree, and whoever needs all of it would wait for ever
    buffer.removeAll(keepingCapacity: buffer.capacity <= 1 << 20)
    ends.removeAll(keepingCapacity: ends.capacity <= 1 << 16)
  }

  private mutating func append(_ line: inout EventLine, _ sequence: inout UInt64) {
    if line.isNumbered {
      line.number(sequence)
      sequence += 1
    }
    buffer.append(line.bytes.span.extracting(line.start...))
    ends.append((buffer.count, line.isNumbered))
  }

  private mutating func writeBatch(to file: FileDescriptor) throws(KMSError) {
    var written = 0
    do throws(Errno) {
      try put(buffer, &written, to: file)
      if settings.durability == .synced { try LogFiles.sync(file) }
    } catch { throw recover(file, written: written, after: error) }
    size += Int64(buffer.count)
    if !settings.copies.isEmpty { forCopies += buffer }
    take(upTo: buffer.count)
  }

  /// Writes `bytes` from `start` on, which counts what is written.
  private func put(_ bytes: [UInt8], _ start: inout Int, to file: FileDescriptor) throws(Errno) {
    let first = start
    while start < bytes.count {
      let from = start
      // A disk of this machine raises no signal.
      guard mayBlock else {
        start += try writeBytes(bytes, from: from, to: file, at: size + Int64(from - first))
        continue
      }
      start += try withoutSIGPIPE { () throws(Errno) in try writeBytes(bytes, from: from, to: file) }
    }
  }

  /// Counts the whole lines that are in the file now.
  private mutating func take(upTo written: Int) {
    records.removeAll(keepingCapacity: true)
    var start = 0
    for (end, isRecord) in ends {
      guard end <= written else { break }
      if isRecord { records.append(start..<end - 1) }
      start = end
    }
    nextSequence += UInt64(records.count)
  }

  /// Gives the records of the last batch to the tree.
  mutating func hash() {
    guard let tree else { return }
    var sequence = nextSequence - UInt64(records.count)
    for record in records {
      checkpoints += tree.add(buffer.span.extracting(record), sequence)
      sequence += 1
    }
    records.removeAll(keepingCapacity: true)
  }

  /// The checkpoints that are due.
  ///
  /// - Parameter isAsked: also of what is new.
  mutating func takeCheckpoints(isAsked: Bool) -> [Checkpoint] {
    if isAsked, let new = tree?.checkpoint(of: nextSequence - 1) { checkpoints.append(new) }
    if checkpoints.isEmpty { return [] }
    defer { checkpoints = [] }
    return checkpoints
  }

  var isOpen: Bool { file != nil }

  /// One that is sealed has no last checkpoint then, unless it was ended before.
  mutating func close() {
    if let file, tree == nil { LogFiles.makeReadOnly(file) }
    for file in [file, broken] { try? file?.close() }
    (file, broken) = (nil, nil)
  }

  /// Ends this writer's log by a last record. What comes next begins another. Nil where nothing is signed.
  mutating func end(_ reason: String) throws(KMSError) -> EndedLog? {
    guard let tree, let file = self.file else { return nil }
    try write(.end(reason), to: file)
    self.file = nil
    defer { (nextSequence, checkpoints) = (1, []) }  // the last one covers what they would
    return EndedLog(file: file, path: path, checkpoint: tree.end(nextSequence - 1))
  }

  // What was written of the failed batch goes; where it cannot, the whole lines among it count.
  private mutating func recover(_ file: FileDescriptor, written: Int, after error: Errno) -> KMSError {
    let isSyncFailure = written == buffer.count  // what a file holds after one is unknown
    let isWhole = ftruncate(file.rawValue, off_t(size)) == 0
    if !isWhole { take(upTo: written) }
    if !isWhole || isSyncFailure {
      if error != .badFileDescriptor { broken = file }  // a number that is not ours any more stays alone
      self.file = nil
    }
    return LogFiles.unavailable("cannot write the access log \(path)", error)
  }

  private mutating func current(_ now: UInt64) throws(KMSError) -> FileDescriptor {
    if let file, now > checked + 1_000_000_000 {
      checked = now
      // Lines in a file that was removed would be lost unseen.
      if LogFiles.isRemoved(file) { close() }
    }
    let isYoung = now < begun + settings.rotateAfterNanoseconds
    if let file, size < settings.rotateAt, isYoung { return file }
    let (old, oldPath) = (file, path)
    do { return try beginFile() } catch {
      guard let old else { throw error }
      (file, path) = (old, oldPath)  // over its size, but it takes lines
      return old
    }
  }

  /// Takes a new file, and leaves the one before only when it is there.
  private mutating func beginFile() throws(KMSError) -> FileDescriptor {
    let before = (file: file, broken: broken, path: path, size: size, mayBlock: mayBlock, sequence: nextSequence)
    let (new, path) = try LogFiles.begin(settings)
    (file, broken, self.path, size, mayBlock) = (new, nil, path, 0, LogFiles.mayBlock(new))
    do throws(KMSError) {
      if let tree { try introduce(tree, path.lastComponent?.string ?? "", new) }
    } catch {
      _ = unsafe unlink(path.string)  // a Swift string, for the call only
      close()
      (file, broken, self.path) = (before.file, before.broken, before.path)
      (size, mayBlock) = (before.size, before.mayBlock)
      if before.sequence == 1, nextSequence > 1, let tree {  // what was written is gone, and in no index
        _ = tree.end(nextSequence - 1)
        nextSequence = 1
      }
      throw error
    }
    if let old = before.file {
      LogFiles.makeReadOnly(old)
      try? old.close()
      finished.append(before.path)
    }
    try? before.broken?.close()
    begun = monotonicNanoseconds()
    return new
  }

  /// The first record of a file, which vouches for the index; and in that, if it is the writer's first.
  private mutating func introduce(_ tree: LogTree, _ name: String, _ new: FileDescriptor) throws(KMSError) {
    let frontier = tree.frontier(of: nextSequence - 1)
    if nextSequence == 1 { tree.begin() }
    let index = WriterIndex(settings.directory, settings.durability)
    guard nextSequence == 1 else {
      return try write(.file(origin: tree.origin, file: name, tree: frontier, index: index.last()), to: new)
    }
    let entry = WriterIndex.Entry(log: tree.origin, file: name)
    let lock = try index.lock()
    defer { try? lock.file.close() }
    let line = entry.line(after: lock.last)
    try write(.file(origin: tree.origin, file: name, tree: frontier, index: WriterIndex.hash(line[...])), to: new)
    try index.append(line, to: lock)
  }

  deinit { for file in [file, broken] { try? file?.close() } }
}

import CryptoPrimitives
import DurableFiles
import Glibc
import KMSCore
import SystemPackage

/// Finds the logs in a folder whose writers died, and closes them: half a line goes into a last record, and where the
/// log is signed, that record is followed by a checkpoint over all that was written.
struct CrashedLogs: Sendable {
  let directory: FilePath
  let signer: LogSigner?
  let durability: AccessLogSettings.Durability
  var progress = UpkeepProgress()

  /// Of a folder with many files it looks at those that can be written: what is ended is not (``LogFiles/makeReadOnly(_:)``).
  func close() async {
    guard let files = try? LogFileName.all(in: directory) else { return }
    for name in files.reversed() where !name.isCompressed {
      progress.step()
      let path = directory.appending(name.description)
      // One that is empty may be about to be locked: a writer locks its file before it writes.
      guard let status = try? FileStatus(path), status.isWritable, status.size > 0, let file = Self.takeOver(path)
      else { continue }
      if await end(name, path, file) { LogFiles.makeReadOnly(file) }
      try? file.close()
    }
  }

  /// Whether nothing remains to be done to it.
  private func end(_ name: LogFileName, _ path: FilePath, _ file: FileDescriptor) async -> Bool {
    do {
      let origin = try FileIntroduction(of: path)?.origin
      if let origin, isContinued(origin, after: name) { return true }
      guard let left = try LeftLog(path, file, isSealed: origin != nil, progress) else { return true }
      return try await finish(left)
    } catch { return false }  // the next start tries again, and whoever verifies the log is told
  }

  /// The file, if nobody writes it.
  private static func takeOver(_ path: FilePath) -> FileDescriptor? {
    let number = unsafe open(path.string, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW)  // a string, for the call only
    guard number >= 0 else { return nil }
    let file = FileDescriptor(rawValue: number)
    guard flock(number, LOCK_EX | LOCK_NB) == 0 else {
      try? file.close()
      return nil
    }
    return file
  }

  /// A writer may have gone on to its next file since the folder was listed.
  private func isContinued(_ origin: String, after name: LogFileName) -> Bool {
    ((try? LogFileName.all(in: directory)) ?? []).contains { other in
      other.started > name.started && other.process == name.process
        && (try? FileIntroduction(of: directory.appending(other.description)))?.origin == origin
    }
  }

  private func finish(_ left: LeftLog) async throws -> Bool {
    guard let checkpoint = try left.end(durability) else { return true }
    guard let signer else { return false }
    let note = try await signer.sign(checkpoint.text)
    try left.add(.checkpoint(note), durability)
    return true
  }
}

/// What a sealed file says of itself in its first record.
struct FileIntroduction: Sendable, Hashable {
  let origin: String
  let file: String
  let tree: MerkleFrontier
  let index: TreeHash?

  /// Nil for a line that is none, and then the log is not sealed.
  init?(line: ArraySlice<UInt8>) {
    guard let fields = JSONObject(line), fields["record"]?.string == AccessEvent.RecordType.file.rawValue,
      let origin = fields["log"]?.string, let file = fields["file"]?.string,
      let tree = fields["tree"]?.string.flatMap({ MerkleFrontier(text: $0) })
    else { return nil }
    self.origin = origin
    self.file = file
    self.tree = tree
    index = fields["index"]?.string.flatMap { Base64.decode($0) }.flatMap { TreeHash($0) }
  }

  init?(of path: FilePath) throws {
    guard let first = try LineSource(path).next(), first.isWhole else { return nil }
    self.init(line: first.line)
  }
}

/// A file whose writer is gone and did not end it.
private struct LeftLog: Sendable {
  private let path: FilePath
  private let file: FileDescriptor
  private let origin: String?
  private var tree = MerkleFrontier()
  private var lastSequence: UInt64 = 0
  private var whole = 0
  private var torn: [UInt8] = []
  private var hasEnd = false

  /// Nil when nothing is to be done.
  init?(_ path: FilePath, _ file: FileDescriptor, isSealed: Bool, _ progress: UpkeepProgress) throws {
    self.path = path
    self.file = file
    if !isSealed {
      // A whole last line needs nothing more.
      var last: UInt8 = 0
      let size = lseek(file.rawValue, 0, SEEK_END)
      guard size > 0, unsafe pread(file.rawValue, &last, 1, size - 1) == 1,  // one byte, which outlives the call
        last != 0x0A
      else { return nil }
    } else if try Self.isClosed(file) {
      return nil
    }
    let lines = try LineSource(path)
    var hasher = TreeHasher()
    var origin: String?
    while let (line, isWhole) = try lines.next() {
      if lines.number % 4096 == 0 { progress.step() }
      guard isWhole else {
        torn = Array(line)
        break
      }
      whole = lines.offset
      if isSealed, line.starts(with: EventLine.checkpointPrefix) { continue }
      if lines.number == 1, isSealed, let introduction = FileIntroduction(line: line) {
        origin = introduction.origin
        tree = introduction.tree
      }
      if isSealed {
        tree.append(hasher.leaf(line.span), &hasher)
      } else {
        lastSequence = AccessRecord(line: line)?.sequence ?? lastSequence
      }
      hasEnd = isSealed && EventLine.isEnd(line)
    }
    self.origin = origin
    guard whole > 0 || !torn.isEmpty else { return nil }
  }

  /// Whether the last line is a checkpoint right after the last record.
  private static func isClosed(_ file: FileDescriptor) throws -> Bool {
    let size = lseek(file.rawValue, 0, SEEK_END)
    var tail = [UInt8](repeating: 0, count: 1 << 14)
    let count = unsafe pread(file.rawValue, &tail, tail.count, max(0, size - off_t(tail.count)))  // as long as it is
    let lines = tail.prefix(max(0, count)).split(separator: 0x0A, omittingEmptySubsequences: false)
    guard lines.count > 2, lines[lines.count - 1].isEmpty, EventLine.note(in: lines[lines.count - 2]) != nil else {
      return false
    }
    return EventLine.isEnd(lines[lines.count - 3])
  }

  /// Writes the last record. What is to be signed then.
  func end(_ durability: AccessLogSettings.Durability) throws -> Checkpoint? {
    var tree = tree
    var hasher = TreeHasher()
    if !torn.isEmpty, ftruncate(file.rawValue, off_t(whole)) != 0 {
      throw FileFailure.error("mend", path, Errno(rawValue: errno))
    }
    if !hasEnd {
      var line: [UInt8] = []
      EventLine.end("its writer died; closed at the next start", torn: torn)
        .write(sequence: (origin == nil ? lastSequence : tree.size) + 1, to: &line)
      try write(line, durability)
      line.removeLast()
      tree.append(hasher.leaf(line.span), &hasher)
    }
    return origin.map { Checkpoint(origin: $0, size: tree.size, root: tree.root(&hasher)) }
  }

  func add(_ line: EventLine, _ durability: AccessLogSettings.Durability) throws { try write(line.bytes, durability) }

  private func write(_ bytes: [UInt8], _ durability: AccessLogSettings.Durability) throws {
    try FileFailure.mapping("write", path) {
      try file.writeAll(bytes)
      if durability == .synced { try sync(file) }
    }
  }
}

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
  /// Only tests cannot wait until it is long ago.
  var changed: @Sendable (FileDescriptor) -> Timestamp? = LogFiles.changed

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
      let introduction = try FileIntroduction(of: path)
      if let introduction, isContinued(introduction.origin, after: name) { return true }
      if let introduction, let note = try LeftLog.lastNote(file) { return try await list(note, introduction.origin) }
      guard let left = try LeftLog(path, file, isSealed: introduction != nil, progress) else { return true }
      if let introduction { return try await finish(left, name, introduction, changed(file)) }
      _ = try left.end(durability, changed: changed(file), isListed: true)
      return true
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

  private func finish(
    _ left: LeftLog, _ name: LogFileName, _ introduction: FileIntroduction, _ changed: Timestamp?
  ) async throws -> Bool {
    guard let signer else { return false }
    let key = try await signer.verifierKey(of: introduction.origin)
    let index = WriterIndex(directory, durability)
    // What was ended, or was changed since, stays as it is for whoever looks: no signature of ours makes it good.
    let listed = try index.events(of: introduction.origin)
    // One that died between its first record and its line in the index has logged nothing, and is ended without one.
    let isListed = listed.contains(.began)
    guard !listed.contains(.ended), try isAsWritten(left, name, introduction, key),
      let checkpoint = try left.end(durability, changed: changed, isListed: isListed)
    else { return true }
    let note = try await signer.sign(checkpoint.text)
    try left.add(.checkpoint(note), durability)
    if isListed { try index.add(end: checkpoint) }
    return true
  }

  /// Of a log that was ended by somebody who died before he said so in the index.
  private func list(_ note: SignedNote, _ origin: String) async throws -> Bool {
    guard let signer else { return false }
    guard try await signer.verifierKey(of: origin).verifies(note), let end = Checkpoint(text: note.text),
      end.origin == origin
    else { return true }  // whoever verifies it is told
    let index = WriterIndex(directory, durability)
    if try index.events(of: origin) == [.began] { try index.add(end: end) }
    return true
  }

  private func isAsWritten(
    _ left: LeftLog, _ name: LogFileName, _ introduction: FileIntroduction, _ key: LogVerifierKey
  ) throws -> Bool {
    var check = WriterCheck(origin: introduction.origin, keys: [key], patience: .seconds(86_400), progress: progress)
    var result = LogVerification()
    // The files before it may have been deleted after their time.
    try check.read(name, in: directory, introduction, removed: { _ in true }, &result)
    return result.isAsWritten(torn: left.tornLine)
  }
}

/// What a sealed file says of itself in its first record.
struct FileIntroduction: Sendable, Hashable {
  let origin: String
  let file: String
  let tree: MerkleFrontier
  /// Nil in a log's later files, as they were once.
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
  /// Number of the half line.
  private(set) var tornLine: Int?
  /// Another start ended it, and could not have that signed.
  private var hasClosing = false

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
    }
    let lines = try LineSource(path)
    var hasher = TreeHasher()
    var origin: String?
    while let (line, isWhole) = try lines.next() {
      if lines.number % 4096 == 0 { progress.step() }
      guard isWhole else {
        guard lines.isAtEnd else { return nil }  // no writer's line is as long
        (torn, tornLine) = (Array(line), lines.number)
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
      hasClosing = isSealed && EventLine.isClosing(line)
    }
    self.origin = origin
    guard whole > 0 || !torn.isEmpty else { return nil }
  }

  /// The last line, if it is a checkpoint right after the last record.
  static func lastNote(_ file: FileDescriptor) throws -> SignedNote? {
    let size = lseek(file.rawValue, 0, SEEK_END)
    var tail = [UInt8](repeating: 0, count: 1 << 14)
    let count = unsafe pread(file.rawValue, &tail, tail.count, max(0, size - off_t(tail.count)))  // as long as it is
    let lines = tail.prefix(max(0, count)).split(separator: 0x0A, omittingEmptySubsequences: false)
    guard lines.count > 2, lines[lines.count - 1].isEmpty, EventLine.isEnd(lines[lines.count - 3]) else { return nil }
    return EventLine.note(in: lines[lines.count - 2])
  }

  /// Writes a last record, also where its writer's own is there: whoever verifies the log sees who signed it. What is to
  /// be signed then.
  ///
  /// - Parameters:
  ///   - changed: when the file was last changed, before now.
  ///   - isListed: the index has the log's beginning, and is to have its end.
  func end(
    _ durability: AccessLogSettings.Durability, changed: Timestamp?, isListed: Bool
  ) throws -> Checkpoint? {
    var tree = tree
    var hasher = TreeHasher()
    if !torn.isEmpty, ftruncate(file.rawValue, off_t(whole)) != 0 {
      throw FileFailure.error("mend", path, Errno(rawValue: errno))
    }
    if !hasClosing || !torn.isEmpty {
      var line: [UInt8] = []
      EventLine.closing(torn: torn, changed: changed, isListed: isListed)
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

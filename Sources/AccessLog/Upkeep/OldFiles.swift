import DurableFiles
import Glibc
import KMSCore
import SystemPackage

/// Files that will not be written any more.
struct OldFiles: Sendable {
  private let settings: AccessLogSettings
  private let progress: UpkeepProgress
  private var directory: FilePath { settings.directory }

  init(_ settings: AccessLogSettings, _ progress: UpkeepProgress = UpkeepProgress()) {
    self.settings = settings
    self.progress = progress
  }

  // A smaller file takes hardly less of the disk.
  static let worthCompressing = 1 << 16

  /// Those that nobody writes, and that are large enough. One that a crash left is ended first: it can be written still,
  /// and a packed one could not be.
  func compress() {
    for name in (try? LogFileName.all(in: directory)) ?? [] where !name.isCompressed {
      progress.step()
      let path = directory.appending(name.description)
      guard let status = try? FileStatus(path), !status.isWritable, status.size >= Self.worthCompressing else {
        continue
      }
      guard let lock = try? lock(path) else { continue }
      defer { try? lock.close() }
      try? AccessLog.compress(path)  // where there is no room, it stays as it is
    }
  }

  /// Deletes those that were last written longer ago than they are kept. A sealed one only with a signed record of
  /// it, so that it is not taken for stolen; one that is not as it was written stays for whoever looks.
  func delete(_ signer: LogSigner?) async {
    let now = Timestamp.now()
    var held: Set<String> = []
    let names = (try? LogFileName.all(in: directory)) ?? []
    for (i, name) in names.enumerated() {
      guard name.started.advanced(by: settings.keep) < now else { break }  // the rest are younger still
      progress.step()
      let path = directory.appending(name.description)
      guard let status = try? FileStatus(path),
        Timestamp(nanoseconds: status.modified).advanced(by: settings.keep) < now
      else { continue }
      do {
        let introduction = try FileIntroduction(of: path)
        // The older files of a log go first.
        if let introduction, !held.insert(introduction.origin).inserted { continue }
        // Nobody else writes it, packs it or deletes it while its deletion is put on record.
        guard let lock = try lock(path) else { continue }
        defer { try? lock.close() }
        if let introduction {
          guard let signer, let entry = try await removal(introduction, names[i...], signer, now) else { continue }
          try RemovedFile.record(try await signer.sign(entry.text), in: directory)
        }
        guard unsafe unlink(path.string) == 0 else { continue }  // a Swift string, for the call only
        if let introduction { held.remove(introduction.origin) }
      } catch { continue }  // the next time
    }
  }

  /// What is to be signed before the first of `files` is deleted. It says what checkpoints say that its writer had
  /// signed: the one over its last record may stand in a later file. Nil where none does, and for one that is young.
  private func removal(
    _ introduction: FileIntroduction, _ files: ArraySlice<LogFileName>, _ signer: LogSigner, _ now: Timestamp
  ) async throws -> RemovedFile? {
    guard let name = files.first, introduction.file == name.original else { return nil }
    let (origin, key) = (introduction.origin, try await signer.verifierKey(of: introduction.origin))
    var check = WriterCheck(origin: origin, keys: [key], patience: .seconds(86_400), progress: progress)
    var result = LogVerification()
    try check.read(name, in: directory, introduction, removed: { _ in true }, &result)
    // Kept by its last record, whatever the file's own time says.
    guard let last = check.lastHead, last.timestamp.advanced(by: settings.keep) < now else { return nil }
    for later in files.dropFirst() where later.process == name.process && check.signed < last.sequence {
      let next = try FileIntroduction(of: directory.appending(later.description))
      if let next, next.origin == origin { try check.read(later, in: directory, next, removed: { _ in true }, &result) }
    }
    guard check.signed >= last.sequence, result.isAsWritten() else { return nil }
    return RemovedFile(
      origin: origin, file: introduction.file, first: introduction.tree.size + 1, last: last.sequence,
      isEnd: last.type == .end, until: last.timestamp, removed: now, keepSeconds: settings.keep.components.seconds)
  }

  /// Nil where somebody else has it.
  private func lock(_ path: FilePath) throws -> FileDescriptor? {
    let file = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    if flock(file.rawValue, LOCK_EX | LOCK_NB) == 0 { return file }
    try file.close()
    return nil
  }
}

/// A sealed file that was deleted because it had been kept long enough, as a signed note says.
struct RemovedFile: Sendable, Hashable {
  static let name = "access-log.removed"
  private static let header = "strongroom access log: file removed"

  let origin: String
  /// As it was written, without `.gz`.
  let file: String
  let first: UInt64
  let last: UInt64
  /// Whether it held the log's last record.
  let isEnd: Bool
  /// Time of its last record.
  let until: Timestamp
  let removed: Timestamp
  let keepSeconds: Int64

  var text: String {
    """
    \(Self.header)
    \(origin)
    \(file)
    \(first) \(last) \(isEnd ? "end" : "continued")
    \(until)
    \(removed) kept for \(keepSeconds) s

    """
  }

  init?(text: String) {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.count == 7, lines[0] == Self.header else { return nil }
    let range = lines[3].split(separator: " ")
    let end = lines[5].split(separator: " ")
    guard range.count == 3, let first = UInt64(range[0]), let last = UInt64(range[1]), end.count == 5,
      let until = Timestamp(rfc3339: lines[4]), let removed = Timestamp(rfc3339: String(end[0])),
      let keep = Int64(end[3]), first <= last, last <= MerkleFrontier.largestSize
    else { return nil }
    self.init(
      origin: lines[1], file: lines[2], first: first, last: last, isEnd: range[2] == "end", until: until,
      removed: removed, keepSeconds: keep)
    guard self.text == text else { return nil }
  }

  init(
    origin: String, file: String, first: UInt64, last: UInt64, isEnd: Bool, until: Timestamp, removed: Timestamp,
    keepSeconds: Int64
  ) {
    self.origin = origin
    self.file = file
    self.first = first
    self.last = last
    self.isEnd = isEnd
    self.until = until
    self.removed = removed
    self.keepSeconds = keepSeconds
  }

  /// Adds the note to the folder's list. Half a line that a crash left is removed.
  static func record(_ note: SignedNote, in directory: FilePath) throws {
    let path = directory.appending(name)
    try withFileLock(FilePath(path.string)) {
      try FileFailure.mapping("write", path) {
        let file = try FileDescriptor.open(path, .readWrite, options: [.append, .closeOnExec])
        try file.closeAfter {
          let end = try cutToWholeLines(file)
          do {
            try file.writeAll(removal(note))
            try sync(file)
          } catch {
            _ = ftruncate(file.rawValue, off_t(end))  // else the next one does
            throw error
          }
        }
      }
    }
  }

  /// Where its whole lines end.
  private static func cutToWholeLines(_ file: FileDescriptor) throws -> Int64 {
    let size = try FileStatus(file).size
    var (end, chunk) = (size, [UInt8](repeating: 0, count: 4096))
    while end > 0 {
      let start = max(0, end - Int64(chunk.count))
      let count = unsafe pread(file.rawValue, &chunk, Int(end - start), off_t(start))  // no more than it has room for
      guard count == end - start else { throw count < 0 ? Errno(rawValue: errno) : Errno.ioError }
      if let newline = chunk[..<count].lastIndex(of: 0x0A) {
        end = start + Int64(newline) + 1
        break
      }
      end = start
    }
    guard end == size || ftruncate(file.rawValue, off_t(end)) == 0 else { throw Errno(rawValue: errno) }
    return end
  }

  private static func removal(_ note: SignedNote) -> [UInt8] {
    var line = Array(#"{"removed":"#.utf8)
    line.append(jsonString: note.description)
    line += "}\n".utf8
    return line
  }

  /// The note of one line of the list; nil for one that is different by a byte.
  static func note(in line: ArraySlice<UInt8>) -> SignedNote? {
    guard let text = JSONObject(line)?["removed"]?.string, let note = SignedNote(text),
      removal(note).dropLast() == line
    else { return nil }
    return note
  }
}

import CryptoPrimitives
import Glibc
import KMSCore
import SystemPackage

/// Writes batches of lines to the current file of one writer, and begins new files.
///
/// After a failure the file ends with a whole line again, or is left as it is and a new one begun.
struct LineWriter: ~Copyable {
  private let settings: AccessLogSettings
  /// Nil after the file was given up: the next batch begins a new one.
  private var file: FileDescriptor?
  private(set) var path: FilePath
  /// Length of the whole lines in the file.
  private var size: Int64 = 0
  private var nextSequence: UInt64 = 1
  private var buffer: [UInt8] = []
  /// Where each line of the buffer begins.
  private var starts: [Int] = []
  /// When the file was last seen to be in its folder still, and begun, CLOCK_MONOTONIC.
  private var checked: UInt64 = 0
  private var begun: UInt64 = monotonicNanoseconds()
  /// Nil: nothing is signed.
  private var seal: WriterSeal?
  private var hasher = TreeHasher()
  /// Files that will not be written any more; for whoever tidies up.
  var finished: [FilePath] = []
  /// What was written since it was last taken, where copies are wanted.
  var forCopies: [UInt8] = []

  init(_ settings: AccessLogSettings, sealedBy keyName: String? = nil) throws {
    self.settings = settings
    seal = keyName.map { WriterSeal(keyName: $0) }
    path = ""
    _ = try beginFile()
  }

  /// Begins in a descriptor that is open already, so that tests can give one that fails.
  init(_ settings: AccessLogSettings, takingOwnershipOf descriptor: FileDescriptor) {
    self.settings = settings
    file = descriptor
    path = "descriptor"
  }

  /// Writes all lines, or none that a caller is told of.
  ///
  /// - Throws: ``KMSError/Code/accessLogUnavailable``.
  mutating func write(_ lines: [EventLine], now: UInt64) throws(KMSError) {
    guard !lines.isEmpty else { return }
    try write(lines, to: try current(now))
  }

  private mutating func write(_ lines: [EventLine], to file: FileDescriptor) throws(KMSError) {
    buffer.removeAll(keepingCapacity: buffer.capacity <= 1 << 20)
    starts.removeAll(keepingCapacity: starts.capacity <= 1 << 16)
    var sequence = nextSequence
    for line in lines where line.origin == nil || line.origin == seal?.origin {
      starts.append(buffer.count)
      line.write(sequence: sequence, to: &buffer)
      if line.isNumbered { sequence += 1 }
    }
    var written = 0
    do throws(Errno) {
      while written < buffer.count { written += try writeBytes(buffer, from: written, to: file) }
      if settings.durability == .synced { try Self.sync(file) }
    } catch {
      recover(file, written: written, after: error)
      throw Self.unavailable("cannot write the access log \(path)", error)
    }
    size += Int64(buffer.count)
    take(upTo: buffer.count)
    if !settings.copies.isEmpty { forCopies += buffer }
  }

  /// Counts the whole lines that are in the file now, and hashes them.
  private mutating func take(upTo written: Int) {
    let buffer = buffer  // the same bytes: a span of a part of `self` borrows all of it
    for (i, start) in starts.enumerated() {
      let end = i + 1 < starts.count ? starts[i + 1] : buffer.count
      guard end <= written else { return }
      // A checkpoint is not numbered, and in no tree.
      guard !buffer[start..<end].starts(with: EventLine.checkpointPrefix) else { continue }
      nextSequence += 1
      guard seal != nil else { continue }
      let leaf = hasher.leaf(buffer.span.extracting(start..<end - 1))
      seal!.tree.append(leaf, &hasher)
    }
  }

  var isOpen: Bool { file != nil }

  mutating func close() {
    try? file?.close()
    file = nil
  }

  // MARK: Sealing

  /// The tree as it is now, when so many records are not under a checkpoint that was asked for.
  mutating func dueForCheckpoint(after records: UInt64) -> Checkpoint? {
    guard let seal, seal.tree.size >= seal.asked + records else { return nil }
    self.seal?.asked = seal.tree.size
    return Checkpoint(origin: seal.origin, size: seal.tree.size, root: seal.tree.root(&hasher))
  }

  /// Ends this writer's log by a last record. What comes next begins another. Nil where nothing is signed.
  mutating func end(_ reason: String) throws(KMSError) -> EndedLog? {
    guard let old = seal, let file = self.file else { return nil }
    try write([.end(reason)], to: file)
    guard let tree = seal?.tree, self.file != nil else { return nil }
    self.file = nil
    seal = WriterSeal(keyName: old.keyName)
    nextSequence = 1
    return EndedLog(
      file: file, path: path, checkpoint: Checkpoint(origin: old.origin, size: tree.size, root: tree.root(&hasher)))
  }

  // What was written of the failed batch goes; where it cannot, the whole lines among it count.
  private mutating func recover(_ file: FileDescriptor, written: Int, after error: Errno) {
    let isWhole = ftruncate(file.rawValue, off_t(size)) == 0
    if !isWhole { take(upTo: written) }
    let isSyncFailure = written == buffer.count  // what a file holds after one is unknown
    if isWhole && !isSyncFailure { return }
    if error != .badFileDescriptor { try? file.close() }  // a number that is not ours any more stays alone
    self.file = nil
  }

  private mutating func current(_ now: UInt64) throws(KMSError) -> FileDescriptor {
    if let file, now > checked + 1_000_000_000 {
      checked = now
      // Lines in a file that was removed would be lost unseen.
      if Self.isRemoved(file) { close() }
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
    let before = (file: file, path: path, size: size)
    let (new, path) = try Self.begin(settings)
    (file, self.path, size) = (new, path, 0)
    do throws(KMSError) {
      if let seal { try introduce(seal, path.lastComponent?.string ?? "", new) }
    } catch {
      _ = unsafe unlink(path.string)  // a Swift string, for the call only
      try? new.close()
      (file, self.path, size) = before
      throw error
    }
    if let old = before.file {
      try? old.close()
      finished.append(before.path)
    }
    begun = monotonicNanoseconds()
    return new
  }

  /// The first record of a file; and in the index, if it is the writer's first.
  private mutating func introduce(_ seal: WriterSeal, _ name: String, _ new: FileDescriptor) throws(KMSError) {
    guard seal.tree.size == 0 else {
      return try write([.file(origin: seal.origin, file: name, tree: seal.tree, index: TreeHash?.none)], to: new)
    }
    let index = WriterIndex(settings.directory)
    let entry = WriterIndex.Entry(log: seal.origin, file: name)
    let lock = try index.lock()
    defer { try? lock.file.close() }
    let line = entry.line(after: lock.last)
    try write(
      [.file(origin: seal.origin, file: name, tree: seal.tree, index: WriterIndex.hash(line[...]))], to: new)
    try index.append(line, to: lock)
  }

  // MARK: System calls

  private static func begin(_ settings: AccessLogSettings) throws(KMSError) -> (FileDescriptor, FilePath) {
    do throws(Errno) {
      try makeFolder(settings.directory)
      while true {
        let path = settings.directory.appending(LogFileName(started: .now(), process: getpid()).description)
        do throws(Errno) {
          let file = try open(path)
          // Whoever looks for logs that ended in a crash sees by it that this one is written.
          _ = flock(file.rawValue, LOCK_EX | LOCK_NB)
          if settings.durability == .synced { try syncFolder(settings.directory) }
          return (file, path)
        } catch {
          guard error == .fileExists else { throw error }  // two in one nanosecond: take the next
        }
      }
    } catch {
      throw unavailable("cannot begin an access log in \(settings.directory)", error)
    }
  }

  private static func open(_ path: FilePath) throws(Errno) -> FileDescriptor {
    let flags = O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW
    let number = unsafe Glibc.open(path.string, flags, 0o600)  // a Swift string, for the call only
    guard number >= 0 else { throw Errno(rawValue: errno) }
    return FileDescriptor(rawValue: number)
  }

  private static func makeFolder(_ path: FilePath) throws(Errno) {
    guard unsafe mkdir(path.string, 0o700) != 0 else { return }  // a Swift string, for the call only
    let error = Errno(rawValue: errno)
    if error == .fileExists { return }
    let parent = path.removingLastComponent()
    guard error == .noSuchFileOrDirectory, !parent.isEmpty, parent != path else { throw error }
    try makeFolder(parent)
    guard unsafe mkdir(path.string, 0o700) == 0 || errno == EEXIST else { throw Errno(rawValue: errno) }  // as above
  }

  private static func sync(_ file: FileDescriptor) throws(Errno) {
    while fdatasync(file.rawValue) != 0 {
      guard errno == EINTR else { throw Errno(rawValue: errno) }
    }
  }

  private static func syncFolder(_ path: FilePath) throws(Errno) {
    let number = unsafe Glibc.open(path.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)  // a Swift string, for the call
    guard number >= 0 else { throw Errno(rawValue: errno) }
    defer { _ = Glibc.close(number) }
    guard fsync(number) == 0 else { throw Errno(rawValue: errno) }
  }

  private static func isRemoved(_ file: FileDescriptor) -> Bool {
    var info = stat()
    return unsafe fstat(file.rawValue, &info) == 0 && info.st_nlink == 0  // `info` outlives the call
  }

  static func unavailable(_ message: String, _ error: Errno) -> KMSError {
    let advice =
      switch error {
      case .noSpace, .diskQuotaExceeded: "Free space where the log is; calls go on as soon as it can be written."
      case .permissionDenied, .notPermitted, .readOnlyFileSystem:
        "Make the folder writable for this user; calls go on as soon as it is."
      case .notDirectory: "Name a folder in access-log: path."
      default: "Mend the log's folder or disk; calls go on as soon as it can be written."
      }
    return KMSError(.accessLogUnavailable, "\(message): \(error)", advice: advice)
  }

  deinit { try? file?.close() }
}

/// Writes some of `bytes` from `start` on. How many.
func writeBytes(_ bytes: [UInt8], from start: Int, to file: FileDescriptor) throws(Errno) -> Int {
  while true {
    // `bytes` outlives the call; the rest of it is given
    let count = unsafe bytes.withUnsafeBytes {
      unsafe Glibc.write(file.rawValue, $0.baseAddress! + start, $0.count - start)  // within `bytes`
    }
    if count > 0 { return count }
    guard count < 0, errno == EINTR else { throw count == 0 ? .ioError : Errno(rawValue: errno) }
  }
}

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
  /// When the file was last seen to be in its folder still, CLOCK_MONOTONIC.
  private var checked: UInt64 = 0

  init(_ settings: AccessLogSettings) throws {
    self.settings = settings
    (file, path) = try Self.begin(settings)
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
    let file = try current(now)
    buffer.removeAll(keepingCapacity: buffer.capacity <= 1 << 20)
    var sequence = nextSequence
    for line in lines {
      line.write(sequence: sequence, to: &buffer)
      sequence += 1
    }
    var written = 0
    do throws(Errno) {
      while written < buffer.count { written += try Self.write(buffer, from: written, to: file) }
      if settings.durability == .synced { try Self.sync(file) }
    } catch {
      recover(file, written: written, after: error)
      throw Self.unavailable("cannot write the access log \(path)", error)
    }
    size += Int64(buffer.count)
    nextSequence = sequence
  }

  mutating func close() {
    try? file?.close()
    file = nil
  }

  // What was written of the failed batch goes; where it cannot, the whole lines among it count.
  private mutating func recover(_ file: FileDescriptor, written: Int, after error: Errno) {
    let isWhole = ftruncate(file.rawValue, off_t(size)) == 0
    if !isWhole { nextSequence += UInt64(buffer[..<written].count { $0 == 0x0A }) }
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
    if let file, size < settings.rotateAt { return file }
    do {
      let (new, path) = try Self.begin(settings)
      close()
      (file, self.path, size) = (new, path, 0)
      return new
    } catch {
      if let file { return file }  // over its size, but it takes lines
      throw error
    }
  }

  // MARK: System calls

  private static func begin(_ settings: AccessLogSettings) throws(KMSError) -> (FileDescriptor, FilePath) {
    do throws(Errno) {
      try makeFolder(settings.directory)
      while true {
        let path = settings.directory.appending(LogFileName(started: .now(), process: getpid()).description)
        do throws(Errno) {
          let file = try open(path)
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

  private static func write(_ bytes: [UInt8], from start: Int, to file: FileDescriptor) throws(Errno) -> Int {
    while true {
      // `bytes` outlives the call; the rest of it is given
      let count = unsafe bytes.withUnsafeBytes {
        unsafe Glibc.write(file.rawValue, $0.baseAddress! + start, $0.count - start)  // within `bytes`
      }
      if count > 0 { return count }
      guard count < 0, errno == EINTR else { throw count == 0 ? .ioError : Errno(rawValue: errno) }
    }
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

  private static func unavailable(_ message: String, _ error: Errno) -> KMSError {
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

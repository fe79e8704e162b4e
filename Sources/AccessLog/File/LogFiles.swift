internal import CLinux
import Glibc
import KMSCore
import SystemPackage

/// System calls for a log's files.
enum LogFiles {
  /// A new file, locked for as long as it is open.
  static func begin(_ settings: AccessLogSettings) throws(KMSError) -> (FileDescriptor, FilePath) {
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

  static func sync(_ file: FileDescriptor) throws(Errno) {
    while fdatasync(file.rawValue) != 0 {
      guard errno == EINTR else { throw Errno(rawValue: errno) }
    }
  }

  /// Nothing will be written to it any more: it says so to who looks for logs that ended in a crash.
  static func makeReadOnly(_ file: FileDescriptor) { _ = fchmod(file.rawValue, 0o400) }

  static func syncFolder(_ path: FilePath) throws(Errno) {
    let number = unsafe Glibc.open(path.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)  // a Swift string, for the call
    guard number >= 0 else { throw Errno(rawValue: errno) }
    defer { _ = Glibc.close(number) }
    guard fsync(number) == 0 else { throw Errno(rawValue: errno) }
  }

  /// When its content, name or mode was last changed. Only whoever sets the clock can give it another time.
  static func changed(_ file: FileDescriptor) -> Timestamp? {
    var info = stat()
    guard unsafe fstat(file.rawValue, &info) == 0 else { return nil }  // `info` outlives the call
    return Timestamp(nanoseconds: Int64(info.st_ctim.tv_sec) * 1_000_000_000 + Int64(info.st_ctim.tv_nsec))
  }

  static func isRemoved(_ file: FileDescriptor) -> Bool {
    var info = stat()
    return unsafe fstat(file.rawValue, &info) == 0 && info.st_nlink == 0  // `info` outlives the call
  }

  // File systems whose writes go to memory first and are as quick as the machine is: ext4, XFS, Btrfs, tmpfs, ramfs,
  // F2FS, overlayfs, ZFS, bcachefs.
  private static let local: Set<UInt32> = [
    0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x8584_58F6, 0xF2F5_2010, 0x794C_7630, 0x2FC1_2FC1, 0xCA45_1A4E,
  ]

  /// A pipe, a device, or a file that somebody else keeps (NFS, SMB, FUSE): no write is sure to come back soon.
  static func mayBlock(_ file: FileDescriptor) -> Bool {
    var status = stat()
    guard unsafe fstat(file.rawValue, &status) == 0,  // `status` outlives the call
      status.st_mode & S_IFMT == S_IFREG
    else { return true }
    return !local.contains(linux_file_system(file.rawValue))
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
}

/// Writes some of `bytes` from `start` on. How many.
///
/// - Parameter place: where in the file, which ends there. With it the kernel takes no lock for the file's position.
func writeBytes(
  _ bytes: [UInt8], from start: Int, to file: FileDescriptor, at place: Int64? = nil
) throws(Errno) -> Int {
  while true {
    let count = unsafe bytes.withUnsafeBytes {  // for the call only; the rest of it is given
      let (rest, size) = unsafe ($0.baseAddress! + start, $0.count - start)  // within `bytes`
      let count = place.map { unsafe pwrite(file.rawValue, rest, size, off_t($0)) }  // as above
      // A pipe has no places.
      if let count, count >= 0 || errno != ESPIPE { return count }
      return unsafe Glibc.write(file.rawValue, rest, size)  // as above
    }
    if count > 0 { return count }
    guard count < 0, errno == EINTR else { throw count == 0 ? .ioError : Errno(rawValue: errno) }
  }
}

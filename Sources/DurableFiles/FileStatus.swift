import Glibc
package import SystemPackage

/// What `stat` says of a file: enough to see whether it is another one, or changed.
package struct FileStatus: Sendable, Hashable {
  package let device: UInt64
  package let inode: UInt64
  package let size: Int64
  /// Last change of the content, nanoseconds since 1970.
  package let modified: Int64
  package let mode: UInt32
  package let owner: UInt32
  package let group: UInt32

  package var isRegularFile: Bool { mode & UInt32(S_IFMT) == UInt32(S_IFREG) }
  package var isFolder: Bool { mode & UInt32(S_IFMT) == UInt32(S_IFDIR) }
  /// Whether its owner may write it.
  package var isWritable: Bool { mode & UInt32(S_IWUSR) != 0 }
  /// Whether anyone but the owner has any right to it.
  package var isExposed: Bool { mode & 0o077 != 0 }

  /// Nil when there is no such file.
  package init?(_ path: FilePath, followingLinks: Bool = true) throws {
    var info = stat()
    let result = unsafe path.withPlatformString { name in  // for the call only
      unsafe followingLinks ? stat(name, &info) : lstat(name, &info)  // `info` outlives the call
    }
    guard result == 0 else {
      let error = Errno(rawValue: errno)
      if error == .noSuchFileOrDirectory || error == .notDirectory { return nil }
      throw FileFailure.error("look at", path, error)
    }
    self.init(info)
  }

  package init(_ descriptor: FileDescriptor) throws(Errno) {
    var info = stat()
    guard unsafe fstat(descriptor.rawValue, &info) == 0 else { throw Errno(rawValue: errno) }  // outlives the call
    self.init(info)
  }

  private init(_ info: stat) {
    device = UInt64(info.st_dev)
    inode = UInt64(info.st_ino)
    size = Int64(info.st_size)
    modified = Int64(info.st_mtim.tv_sec) * 1_000_000_000 + Int64(info.st_mtim.tv_nsec)
    mode = info.st_mode
    owner = info.st_uid
    group = info.st_gid
  }
}

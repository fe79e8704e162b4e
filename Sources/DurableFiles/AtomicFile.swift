internal import CLinux
import Glibc
internal import KMSCore
package import SystemPackage

/// A file that appears under its name only whole: written aside, fsynced, then put in place in one step.
///
/// Dropped without ``commit()``, nothing remains. SIGKILL may leave a temporary file (where the file system knows
/// O_TMPFILE, only between two calls of ``commit()``), which ``removeLeftovers(in:)`` tells from one in use by its lock.
package struct AtomicFile: ~Copyable {
  /// Where the content is written. Standing at 0.
  package let descriptor: FileDescriptor
  package let path: FilePath
  private let replaces: Bool
  /// Name of the file until it is committed; nil when it has none (O_TMPFILE).
  private let temporary: FilePath?
  /// What is synced when the name is in place; nil when this account may not read it. Opened before anything is made,
  /// so that a file that is in place is not called a failure.
  private let folder: FileDescriptor?

  /// - Parameters:
  ///   - permissions: 0600 unless said otherwise.
  ///   - replacing: whether a file that is there may be replaced. If not, its presence is an error now, and
  ///     again at ``commit()`` should one have appeared.
  package init(_ path: FilePath, permissions: FilePermissions = .ownerReadWrite, replacing: Bool) throws {
    if let there = try FileStatus(path, followingLinks: false) {
      guard replacing else { throw Self.exists(path) }
      guard there.isRegularFile else {
        throw KMSError(
          .fileFailed, "\(path) is a link, folder or device, which is not replaced", advice: "Name a file.")
      }
    }
    let folder: FileDescriptor? = try FileFailure.mapping("create", path) {
      do { return try openFolder(of: path) } catch Errno.permissionDenied { return nil }
    }
    do {
      (descriptor, temporary) = try FileFailure.mapping("create", path) { try Self.make(path, permissions) }
    } catch {
      try? folder?.close()
      throw error
    }
    self.path = path
    self.replaces = replacing
    self.folder = folder
    _ = flock(descriptor.rawValue, LOCK_EX | LOCK_NB)  // nobody else has it yet
  }

  private static func make(_ path: FilePath, _ permissions: FilePermissions) throws -> (FileDescriptor, FilePath?) {
    let folder = path.removingLastComponent()
    let unnamed = try? FileDescriptor.open(
      folder.isEmpty ? "." : folder, .readWrite, options: .init(rawValue: linux_o_tmpfile), permissions: permissions)
    if let unnamed { return (unnamed, nil) }
    let name = temporaryName(for: path)
    let named = try FileDescriptor.open(
      name, .readWrite, options: [.create, .exclusiveCreate, .closeOnExec], permissions: permissions)
    return (named, name)
  }

  /// Gives the file the owner, group, permissions and access control list of the one that it is to replace.
  package func take(ownerOf other: FileStatus) throws {
    try FileFailure.mapping("give the owner of the old file to the new", path) {
      let own = try FileStatus(descriptor)
      if own.owner != other.owner || own.group != other.group {
        guard fchown(descriptor.rawValue, other.owner, other.group) == 0 else { throw Errno(rawValue: errno) }
      }
      guard fchmod(descriptor.rawValue, other.mode & 0o777) == 0 else { throw Errno(rawValue: errno) }
      // Where there is one, the group's permissions above are its mask, and without it they would be the group's own.
      let file = descriptor.rawValue
      guard unsafe path.withPlatformString({ unsafe linux_copy_acl($0, file) }) == 0 else {  // for the call only
        throw Errno(rawValue: errno)
      }
    }
  }

  /// Writes all of `bytes` at the current position.
  package func write(_ bytes: [UInt8]) throws {
    _ = try FileFailure.mapping("write", path) { try descriptor.writeAll(bytes) }
  }

  /// Makes the content durable, so that ``commit()`` takes no time any more.
  package func prepare() throws {
    try FileFailure.mapping("sync", path) { try sync(descriptor) }
  }

  /// Makes the content durable and gives it its name.
  package consuming func commit() throws {
    try prepare()
    switch (temporary, replaces) {
    case (nil, false): try link(FilePath("/proc/self/fd/\(descriptor.rawValue)"), to: path)
    case (nil, true):
      let name = Self.temporaryName(for: path)
      try link(FilePath("/proc/self/fd/\(descriptor.rawValue)"), to: name)
      try rename(name)
    case (let name?, false): try link(name, to: path)
    case (let name?, true): try rename(name)
    }
    do {
      // Of a folder that only takes files nothing can be asked but through the file system that it is on.
      if let folder {
        try sync(folder)
      } else if linux_sync_file_system(descriptor.rawValue) != 0 {
        throw Errno(rawValue: errno)
      }
    } catch let error as Errno {
      throw KMSError(
        .fileFailed, "\(path) is in place, but its folder cannot be synced: \(error)",
        advice: "It may not survive a power failure; check the disk.")
    }
  }

  private func rename(_ name: FilePath) throws {
    let done = unsafe name.withPlatformString { old in  // for the calls only
      unsafe path.withPlatformString { unsafe Glibc.rename(old, $0) }
    }
    guard done != 0 else { return }
    let error = Errno(rawValue: errno)
    _ = unsafe name.withPlatformString { unsafe unlink($0) }  // for the call only
    throw FileFailure.error("rename", path, error)
  }

  private func link(_ source: FilePath, to name: FilePath) throws {
    let error = unsafe source.withPlatformString { old -> Errno? in  // for the calls only
      unsafe name.withPlatformString { new in  // as above
        if unsafe linkat(AT_FDCWD, old, AT_FDCWD, new, AT_SYMLINK_FOLLOW) == 0 { return nil }
        let error = Errno(rawValue: errno)
        // FAT has no links. What has a name can be given another that nobody has.
        guard [.notPermitted, .notSupportedOnSocket, .noFunction].contains(error), temporary == source else {
          return error
        }
        return unsafe linux_rename_to_free_name(old, new) == 0 ? nil : Errno(rawValue: errno)
      }
    }
    guard let error else { return }
    throw error == .fileExists ? Self.exists(path) : FileFailure.error("create", path, error)
  }

  static let suffix = ".strongroom-partial"

  private static func temporaryName(for path: FilePath) -> FilePath {
    let random = UInt32.random(in: .min ... .max)
    return path.removingLastComponent().appending("\(temporaryStart(for: path))\(String(random, radix: 36))\(suffix)")
  }

  /// What the names of `path`'s temporary files begin with.
  static func temporaryStart(for path: FilePath) -> String {
    // A name has at most 255 bytes, a character of it up to some dozens.
    var name = path.lastComponent?.string ?? "output"
    while name.utf8.count > 200 { name.removeLast() }
    return ".\(name)."
  }

  private static func exists(_ path: FilePath) -> KMSError {
    KMSError(.outputExists, "\(path) is there already", advice: "Choose another name, or remove it first.")
  }

  deinit {
    try? descriptor.close()
    try? folder?.close()
    // Gone already after a rename.
    if let temporary { _ = unsafe temporary.withPlatformString { unsafe unlink($0) } }  // for the call only
  }
}

package func sync(_ descriptor: FileDescriptor) throws(Errno) {
  // EINVAL: a pipe or device has nothing to sync.
  guard fsync(descriptor.rawValue) == 0 || errno == EINVAL else { throw Errno(rawValue: errno) }
}

/// Makes a new or changed name in `path`'s folder durable.
package func syncFolder(of path: FilePath) throws {
  do {
    let descriptor = try openFolder(of: path)
    try descriptor.closeAfter { try sync(descriptor) }
  } catch let error as Errno {
    throw KMSError(
      .fileFailed, "the folder of \(path) cannot be synced: \(error)",
      advice: "What was changed in it may not survive a power failure; check the disk.")
  }
}

private func openFolder(of path: FilePath) throws -> FileDescriptor {
  let folder = path.removingLastComponent()
  return try FileDescriptor.open(folder.isEmpty ? "." : folder, .readOnly, options: [.directory, .closeOnExec])
}

import Glibc
package import SystemPackage

extension AtomicFile {
  /// Whether a file of this name is what an ``AtomicFile`` is written to, or what a killed process left of one.
  package static func isTemporary(_ name: String) -> Bool {
    name.hasPrefix(".") && name.hasSuffix(suffix)
  }

  /// Removes what killed processes left in a folder. What a living one writes to is locked, and stays.
  package static func removeLeftovers(in folder: FilePath) throws {
    for name in try folderEntries(folder.isEmpty ? "." : folder) where isTemporary(name.string) {
      removeLeftover(folder.appending(name))
    }
  }

  /// Removes what killed processes left of one file.
  package static func removeLeftovers(of path: FilePath) throws {
    let (folder, start) = (path.removingLastComponent(), temporaryStart(for: path))
    for name in try folderEntries(folder.isEmpty ? "." : folder)
    where isTemporary(name.string) && name.string.hasPrefix(start) {
      removeLeftover(folder.appending(name))
    }
  }

  /// Removes a temporary file that nobody writes to. Where that is not possible, it stays.
  package static func removeLeftover(_ path: FilePath) {
    let options: FileDescriptor.OpenOptions = [.closeOnExec, .noFollow, .nonBlocking]
    guard let descriptor = try? FileDescriptor.open(path, .readOnly, options: options) else { return }
    defer { try? descriptor.close() }
    guard flock(descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 else { return }
    _ = unsafe path.withPlatformString { unsafe unlink($0) }  // for the call only
  }
}

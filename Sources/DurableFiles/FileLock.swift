import Glibc
package import SystemPackage

/// An exclusive lock between processes (flock on a file of its own); free again when the value goes, or the
/// process dies. It blocks until it has the lock: hold it shortly.
package struct FileLock: ~Copyable {
  private let descriptor: FileDescriptor

  /// - Parameter path: the lock's own file, made 0600 if it is not there, and left there.
  package init(_ path: FilePath) throws {
    let descriptor = try FileFailure.mapping("open the lock", path) {
      try FileDescriptor.open(
        path, .readWrite, options: [.create, .closeOnExec], permissions: .ownerReadWrite)
    }
    while flock(descriptor.rawValue, LOCK_EX) != 0 {
      guard errno == EINTR else {
        let error = Errno(rawValue: errno)
        try? descriptor.close()
        throw FileFailure.error("lock", path, error)
      }
    }
    self.descriptor = descriptor
  }

  deinit { try? descriptor.close() }
}

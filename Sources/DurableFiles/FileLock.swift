import Glibc
package import SystemPackage

/// Runs `body` while no other process, and no other caller of this function, holds the lock (flock on a file of
/// its own). The lock goes with the process, however that ends. It blocks until it has the lock: hold it shortly.
///
/// - Parameter path: the lock's own file, made 0600 if it is not there, and left there.
package func withFileLock<Result>(_ path: FilePath, _ body: () throws -> Result) throws -> Result {
  let descriptor = try FileFailure.mapping("open the lock", path) {
    try FileDescriptor.open(path, .readWrite, options: [.create, .closeOnExec], permissions: .ownerReadWrite)
  }
  defer { try? descriptor.close() }
  while flock(descriptor.rawValue, LOCK_EX) != 0 {
    guard errno == EINTR else { throw FileFailure.error("lock", path, Errno(rawValue: errno)) }
  }
  return try body()
}

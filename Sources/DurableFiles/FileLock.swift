import Glibc
internal import KMSCore
package import SystemPackage

/// Runs `body` while no other process, and no other caller of this function, holds the lock (flock on a file of
/// its own). The lock goes with the process, however that ends. It blocks until it has the lock: hold it shortly.
///
/// - Parameters:
///   - path: the lock's own file, made 0600 if it is not there, and left there.
///   - guarded: what the lock is for. A lock that is made belongs to whom that belongs to.
///   - limit: how long the lock is waited for; for ever when nil.
/// - Throws: ``KMSError/Code/deadlineExceeded``.
package func withFileLock<Result>(
  _ path: FilePath, of guarded: FileStatus? = nil, within limit: Duration? = nil, _ body: () throws -> Result
) throws -> Result {
  let descriptor = try FileFailure.mapping("open the lock", path) { try openLock(path, guarded) }
  defer { try? descriptor.close() }
  let end = limit.map { ContinuousClock.now + $0 }
  while flock(descriptor.rawValue, end == nil ? LOCK_EX : LOCK_EX | LOCK_NB) != 0 {
    switch (errno, end) {
    case (EINTR, _): continue
    case (EWOULDBLOCK, let end?):
      guard ContinuousClock.now < end else {
        throw KMSError(
          .deadlineExceeded, "another process holds the lock \(path)", advice: "Look what it waits for; try again.")
      }
      usleep(5000)
    case (let error, _): throw FileFailure.error("lock", path, Errno(rawValue: error))
    }
  }
  return try body()
}

private func openLock(_ path: FilePath, _ guarded: FileStatus?) throws -> FileDescriptor {
  func open() throws -> FileDescriptor { try FileDescriptor.open(path, .readWrite, options: .closeOnExec) }
  do { return try open() } catch Errno.noSuchFileOrDirectory {}
  do {
    let new = try AtomicFile(path, replacing: false)  // so that it has its owner when it appears
    if let guarded, fchown(new.descriptor.rawValue, guarded.owner, guarded.group) != 0 { throw Errno(rawValue: errno) }
    try new.commit()
  } catch let error as KMSError where error.code == .outputExists {}  // another caller was faster
  return try open()
}

internal import DurableFiles
internal import KMSCore
internal import Synchronization
internal import SystemPackage

/// A file that is written, and has not appeared under its name yet. Dropped, it never does.
final class PendingFile: Sendable {
  private let file: Mutex<AtomicFile?>
  /// What it is to replace, as that was when it was read.
  private let replaced: FileStatus?

  /// - Parameter file: nil for what is written where it is to stay, such as standard output.
  init(_ file: consuming AtomicFile?, replacing replaced: FileStatus? = nil) {
    self.file = Mutex(file)
    self.replaced = replaced
  }

  /// - Parameter start: bytes to put in the place of its first ones.
  func commit(start: [UInt8]? = nil) throws {
    guard let file = file.withLock({ $0.take() }) else { return }
    if let start {
      try FileFailure.mapping("write", file.path) { try writeAll(start, to: file.descriptor, at: 0) }
    }
    if let replaced {
      try file.prepare()
      // It took a while: what somebody else put there meanwhile is not replaced by what was there before.
      guard try FileStatus(file.path, followingLinks: false) == replaced else {
        throw HeaderJournal.changedMeanwhile(file.path)
      }
    }
    try file.commit()
  }
}

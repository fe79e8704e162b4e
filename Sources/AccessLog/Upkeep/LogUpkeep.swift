import KMSCore
import Synchronization
import SystemPackage

/// What is done to a folder's other files: logs that ended in a crash are closed, finished files are compressed, and
/// those that were kept long enough are deleted. On threads of its own; callers of the log never wait for it.
final class LogUpkeep: Sendable {
  private let settings: AccessLogSettings
  private let signer: LogSigner?
  private let progress = UpkeepProgress()
  private let closing = Mutex<Task<Void, Never>?>(nil)
  private let tidying = Mutex<Task<Void, Never>?>(nil)

  init(_ settings: AccessLogSettings, signer: LogSigner?) {
    self.settings = settings
    self.signer = signer
  }

  /// At the start of a log.
  func begin() {
    let crashed = CrashedLogs(
      directory: settings.directory, signer: signer, durability: settings.durability, progress: progress)
    let task = Task.detached(executorPreference: DiskThreads.shared) { await crashed.close() }
    closing.withLock { $0 = task }
    tidy()
  }

  /// Waits until logs that had crashed are closed, as long as that comes on.
  ///
  /// - Parameter patience: in nanoseconds.
  /// - Returns: false when nothing came on for so long: the disk stands, or the signing key's token.
  func crashedLogsAreClosed(patience: UInt64) async -> Bool { await wait(for: closing.withLock { $0 }, patience) }

  /// The same until nothing is done to the folder any more.
  func finish(patience: UInt64) async -> Bool {
    guard await crashedLogsAreClosed(patience: patience) else { return false }
    return await wait(for: tidying.withLock { $0 }, patience)
  }

  private func wait(for task: Task<Void, Never>?, _ patience: UInt64) async -> Bool {
    guard let task else { return true }
    while true {
      let before = progress.steps
      if await within(patience, { await task.value }) { return true }
      if progress.steps == before { return false }
    }
  }

  /// When a file was finished.
  func tidy() {
    tidying.withLock { tidying in
      let before = tidying
      tidying = Task.detached(executorPreference: DiskThreads.shared) { [self] in
        await before?.value
        await closing.withLock { $0 }?.value
        let old = OldFiles(settings, progress)
        old.compress()
        await old.delete(signer)
      }
    }
  }
}

/// Tells work that takes long from work that stands.
final class UpkeepProgress: Sendable {
  private let count = Atomic(0)
  var steps: Int { count.load(ordering: .relaxed) }
  func step() { count.add(1, ordering: .relaxed) }
}

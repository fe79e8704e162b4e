import Dispatch
import KMSCore
import Synchronization
import SystemPackage

/// What is done to a folder's other files: logs that ended in a crash are closed, finished files are compressed, and
/// those that were kept long enough are deleted. On threads of its own; callers of the log never wait for it.
final class LogUpkeep: Sendable {
  private let settings: AccessLogSettings
  private let signer: LogSigner?
  private let closing = Mutex<Task<Void, Never>?>(nil)
  private let tidying = Mutex<Task<Void, Never>?>(nil)

  init(_ settings: AccessLogSettings, signer: LogSigner?) {
    self.settings = settings
    self.signer = signer
  }

  /// At the start of a log.
  func begin() {
    let (settings, signer) = (settings, signer)
    let task = Task.detached {
      await CrashedLogs(directory: settings.directory, signer: signer, durability: settings.durability).close()
    }
    closing.withLock { $0 = task }
    tidy()
  }

  /// When logs that had crashed are closed.
  func crashedLogsAreClosed() async { await closing.withLock { $0 }?.value }

  /// When nothing is done to the folder any more.
  func finish() async {
    await crashedLogsAreClosed()
    await tidying.withLock { $0 }?.value
  }

  /// When a file was finished.
  func tidy() {
    tidying.withLock { tidying in
      let before = tidying
      tidying = Task.detached { [self] in
        await before?.value
        await crashedLogsAreClosed()
        await onQueue { [settings] in OldFiles(settings).compress() }
        await OldFiles(settings).delete(signer)
      }
    }
  }
}

private let upkeepQueue = DispatchQueue(label: "access-log-upkeep", qos: .utility, attributes: .concurrent)

/// Runs what blocks on a thread that nobody else needs.
func onQueue<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
  await withCheckedContinuation { continuation in
    upkeepQueue.async { continuation.resume(returning: body()) }
  }
}

import KMSCore
import Synchronization

/// What is to be done after a write: lines are handed on to copies, files that ended tidied up, checkpoints signed.
struct LogAftercare: Sendable {
  let upkeep: LogUpkeep
  /// Nil: nothing is signed.
  let signing: CheckpointSigning?
  let copies = LogCopies()

  /// By whose turn it is.
  func follow(_ lines: inout LineWriter, isCheckpointAsked: Bool, _ committer: LogCommitter) {
    if !lines.forCopies.isEmpty {
      copies.offer(lines.forCopies)
      lines.forCopies = []
    }
    if !lines.finished.isEmpty {
      upkeep.tidy()
      lines.finished = []
    }
    sign(lines.takeCheckpoints(isAsked: isCheckpointAsked), committer)
  }

  func sign(_ checkpoints: [Checkpoint], _ committer: LogCommitter) {
    if checkpoints.isEmpty { return }
    signing?.sign(checkpoints) { lines in (try? await committer.commit(lines)) != nil }
  }
}

/// Where copies of the log go.
final class LogCopies: Sendable {
  private let all = Mutex<[LogCopy]>([])

  func begin(_ targets: [LogCopyTarget], onLost: @escaping @Sendable (Int, String) -> Void) {
    all.withLock { $0 = targets.map { LogCopy($0, tell: onLost) } }
  }

  func offer(_ lines: [UInt8]) {
    all.withLock { for copy in $0 { copy.offer(lines) } }
  }

  func finish() async {
    for copy in all.withLock({ $0 }) { await copy.finish() }
  }
}

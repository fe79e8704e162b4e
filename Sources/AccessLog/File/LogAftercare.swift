import KMSCore
import Synchronization

/// What is to be done after a write: lines are handed on to copies, files that ended tidied up, checkpoints signed.
struct LogAftercare: Sendable {
  let upkeep: LogUpkeep
  /// Nil: nothing is signed.
  let signing: CheckpointSigning?
  let copies = LogCopies()

  /// By whose turn it is, as is ``follow(_:isCheckpointAsked:_:)``; before a caller goes on, who may wait for the copies.
  func offerCopies(_ lines: inout LineWriter) {
    if lines.forCopies.isEmpty { return }
    copies.offer(lines.forCopies)
    lines.forCopies = []
  }

  func follow(_ lines: inout LineWriter, isCheckpointAsked: Bool, _ committer: LogCommitter) {
    offerCopies(&lines)
    if !lines.finished.isEmpty {
      upkeep.tidy()
      lines.finished = []
    }
    sign(lines.takeCheckpoints(isAsked: isCheckpointAsked), committer)
  }

  func sign(_ checkpoints: [Checkpoint], _ committer: LogCommitter) {
    if checkpoints.isEmpty { return }
    signing?.sign(checkpoints) {
      committer.writes($0)
    } log: { lines in
      (try? await committer.commit(lines)) != nil
    }
  }
}

/// Where copies of the log go.
final class LogCopies: Sendable {
  private let all = Mutex<[LogCopy]>([])

  /// - Parameter tell: of so many lines that a target lost; false when the log does not take that now.
  func begin(_ targets: [LogCopyTarget], tell: @escaping @Sendable (Int, String) async -> Bool) {
    all.withLock { $0 = targets.map { LogCopy($0, tell: tell) } }
  }

  func offer(_ lines: [UInt8]) {
    all.withLock { for copy in $0 { copy.offer(lines) } }
  }

  /// Waits, but not for ever, until all targets have what was offered.
  func finish() async {
    await withTaskGroup { group in
      for copy in all.withLock({ $0 }) { group.addTask { await copy.finish() } }
    }
  }

  /// The log is about to end: what was lost until now is told.
  func tellLost() async {
    for copy in all.withLock({ $0 }) { await copy.tellLost() }
  }
}

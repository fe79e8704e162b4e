import KMSCore
import Synchronization

/// Has checkpoints signed one after the other, off the callers' path, and the results logged.
final class CheckpointSigning: Sendable {
  private struct Queue {
    /// The smaller before the larger.
    var waiting: [Checkpoint] = []
    /// The last that was taken out.
    var taken: Checkpoint?
    var task: Task<Void, Never>?
    /// Somebody waits for the end: what cannot be signed or logged now is left to the last checkpoint.
    var isEnding = false

    /// Whoever has a checkpoint made is outside all locks then, and may come later than who has a larger one. In the file
    /// they stand in order: one that would come after a larger one is left out, as that covers its records.
    mutating func add(_ checkpoint: Checkpoint) {
      if let taken, taken.origin == checkpoint.origin, taken.size >= checkpoint.size { return }
      var place = waiting.count
      while place > 0, waiting[place - 1].origin == checkpoint.origin, waiting[place - 1].size >= checkpoint.size {
        place -= 1
      }
      if waiting.count >= limit {
        guard place == waiting.count else { return }
        waiting.removeLast()
        place -= 1
      }
      waiting.insert(checkpoint, at: place)
    }

    mutating func next() -> Checkpoint? {
      guard !waiting.isEmpty else { return nil }
      taken = waiting.removeFirst()
      return taken
    }
  }

  // What a slow signer may be behind. Beyond, the newest stands for the one before, whose records it covers.
  private static let limit = 1024

  private let signer: LogSigner
  private let onSigning: @Sendable (AccessEvent) -> Void
  private let queue = Mutex(Queue())

  init(_ signer: LogSigner, onSigning: @escaping @Sendable (AccessEvent) -> Void) {
    self.signer = signer
    self.onSigning = onSigning
  }

  /// - Parameters:
  ///   - isWritten: whether the log of that name has not ended: what the last checkpoint of one covers needs no other.
  ///   - log: takes the lines that come of it, or says that it did not: then the next checkpoint covers the same.
  func sign(
    _ checkpoints: [Checkpoint], isWritten: @escaping @Sendable (String) -> Bool = { _ in true },
    log: @escaping @Sendable ([EventLine]) async -> Bool
  ) {
    guard !checkpoints.isEmpty else { return }
    queue.withLock { queue in
      for checkpoint in checkpoints { queue.add(checkpoint) }
      if queue.task == nil { queue.task = Task { await self.run(isWritten, log) } }
    }
  }

  /// Returns when nothing waits to be signed, or cannot be.
  func finish() async {
    queue.withLock { $0.isEnding = true }
    defer { queue.withLock { $0.isEnding = false } }
    while let task = queue.withLock({ $0.task }) { await task.value }
  }

  private func run(
    _ isWritten: @Sendable (String) -> Bool, _ log: @Sendable ([EventLine]) async -> Bool
  ) async {
    while let checkpoint = next() {
      guard isWritten(checkpoint.origin) else { continue }
      let (lines, isSigned) = await sign(checkpoint)
      if await log(lines), isSigned { continue }
      queue.withLock { if $0.isEnding { $0.waiting = [] } }
    }
  }

  private func next() -> Checkpoint? {
    queue.withLock { queue in
      let next = queue.next()
      if next == nil { queue.task = nil }
      return next
    }
  }

  private func sign(_ checkpoint: Checkpoint) async -> (lines: [EventLine], isSigned: Bool) {
    let start = monotonicNanoseconds()
    var event = AccessEvent(
      .sign, provider: signer.providerName, access: EventLine.own,
      reason: "checkpoint of \(checkpoint.size) records")
    var lines: [EventLine] = []
    do {
      lines = [EventLine.checkpoint(try await signer.sign(checkpoint.text))]
    } catch {
      event.errorCode = (error as? KMSError)?.code ?? .cancelled
      event.errorMessage = (error as? KMSError)?.message ?? "cancelled"
    }
    event.timestamp = .now()
    event.duration = .nanoseconds(Int64(monotonicNanoseconds() - start))
    lines.append(.signed(event))
    onSigning(event)
    for i in lines.indices { lines[i].origin = checkpoint.origin }
    return (lines, event.success)
  }
}

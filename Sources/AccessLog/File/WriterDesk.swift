import KMSCore
import Synchronization

/// Where a caller writes, in its own thread, once it has the turn. It is suspended before, so that it can go on at its
/// deadline while its thread stands in the kernel: being here is having written, or having waited too long.
///
/// A log has one for each processor, and what is here stays in that processor's memory.
actor WriterDesk {
  enum Outcome {
    case written
    case failed(KMSError)
    /// Nothing was done, and the line is given back.
    case notItsTurn(EventLine?)
    /// The thread is at it still.
    case late
  }

  private nonisolated let seat = Seat()
  nonisolated var unownedExecutor: UnownedSerialExecutor {
    unsafe seat.asUnownedSerialExecutor()  // the seat lives as long as the desk
  }

  /// Whether it is the caller's, for one ``write(_:for:)``.
  nonisolated func take() -> Bool { seat.take() }

  /// Without writing.
  nonisolated func leave() { seat.leave() }

  /// Lets a caller go on whose deadline has passed. When the next one's has.
  nonisolated func expire(_ now: UInt64) -> UInt64? { seat.expire(now) }

  /// By who has taken it.
  ///
  /// - Parameter line: nil: what is in the queue.
  nonisolated func write(_ line: consuming EventLine?, for log: LogCommitter) async -> Outcome {
    let use = seat.begin(consume line, log)
    return await finish(use)
  }

  // Not inlined, and it reads memory: the hop must not be removed.
  @inline(never)
  private func finish(_ use: UInt64) -> Outcome { seat.finish(use) }

  @safe  // `log` is held by others
  private final class Seat: SerialExecutor, InPlaceWork, @unchecked Sendable {  // of who took it; the rest is locked
    private let before = InlineArray<16, UInt64>(repeating: 0)
    private let isTaken = Atomic(false)
    private var use: UInt64 = 0
    private var line: EventLine?
    /// The caller holds it; and ``expire(_:)``, for a thread that stands.
    private var log: Unmanaged<LogCommitter>?
    private var job: UnownedJob?
    private var outcome = Outcome.written
    private let waiting = Mutex(Waiting())
    private let hasLate = Atomic(false)
    private let after = InlineArray<16, UInt64>(repeating: 0)

    private struct Waiting {
      /// Its task, until its deadline.
      var caller: (job: UnownedJob, use: UInt64, expires: UInt64)?
      /// Uses whose caller went on before its thread.
      var late: Set<UInt64> = []
    }

    func take() -> Bool {
      !isTaken.load(ordering: .relaxed) && !isTaken.exchange(true, ordering: .acquiring)
    }

    func leave() { isTaken.store(false, ordering: .releasing) }

    func begin(_ line: consuming EventLine?, _ log: LogCommitter) -> UInt64 {
      use += 1
      self.line = line
      unsafe self.log = Unmanaged.passUnretained(log)  // see `log`
      return use
    }

    func enqueue(_ job: consuming ExecutorJob) {
      self.job = UnownedJob(job)
      InPlace.run(self)
    }

    func work() -> UnownedJob? {
      guard let job = job.take(), let log = unsafe log else { return nil }  // see `log`
      let isWaitedFor = unsafe log._withUnsafeGuaranteedRef { log in  // see `log`
        let start = monotonicNanoseconds()
        waiting.withLock { $0.caller = (job, use, start + log.deadline) }
        log.watch(after: log.deadline)
        write(log, since: start)
        return waiting.withLock { $0.caller.take() } != nil
      }
      if isWaitedFor { return job }
      unsafe log.release()  // retained by `expire(_:)`
      leave()
      return nil
    }

    private func write(_ log: LogCommitter, since start: UInt64) {
      guard let hold = log.takeTurn() else {
        outcome = .notItsTurn(line.take())
        return
      }
      let result = log.writeForAll(&line, since: start, hold)
      if case .failure(let error)? = result { outcome = .failed(error) } else { outcome = .written }
      // The turn is the next one's, and the line in this processor's cache.
      if let line = line.take(), case .success(let sequence)? = result { log.hash(line, sequence) }
    }

    /// Lets the caller go on whose deadline has passed, though its thread stands. When the next one's has.
    func expire(_ now: UInt64) -> UInt64? {
      let job = waiting.withLock { waiting -> UnownedJob? in
        guard let (job, use, expires) = waiting.caller, expires <= now else { return nil }
        waiting.caller = nil
        waiting.late.insert(use)
        hasLate.store(true, ordering: .relaxed)
        _ = unsafe log?.retain()  // the caller holds it still; released by the thread when it is done
        return job
      }
      if let job { globalConcurrentExecutor.enqueue(job) }
      return waiting.withLock { $0.caller?.expires }
    }

    func finish(_ use: UInt64) -> Outcome {
      if hasLate.load(ordering: .relaxed), isLate(use) { return .late }
      defer { leave() }
      return outcome
    }

    private func isLate(_ use: UInt64) -> Bool {
      waiting.withLock { waiting in
        defer { hasLate.store(!waiting.late.isEmpty, ordering: .relaxed) }
        return waiting.late.remove(use) != nil
      }
    }
  }
}

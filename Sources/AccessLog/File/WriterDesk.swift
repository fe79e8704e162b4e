internal import CLinux
import KMSCore
import Synchronization

/// Where the caller writes whose turn it is. It is suspended before, so that it can go on at its deadline while its
/// thread stands in the kernel: being here is having written, or having waited too long.
actor WriterDesk {
  /// A caller whose thread writes.
  struct Caller {
    let ticket: UInt64
    /// Its line goes past the queue, and so does its ticket.
    let isAlone: Bool
    /// Its task.
    let job: UnownedJob
  }

  private nonisolated let seat = Seat()
  nonisolated var unownedExecutor: UnownedSerialExecutor {
    unsafe seat.asUnownedSerialExecutor()  // the seat lives as long as the desk
  }

  /// By the one caller that has the turn.
  ///
  /// - Parameter onThisThread: or on the log's own.
  nonisolated func write(
    _ ticket: UInt64, _ line: consuming EventLine? = nil, for log: LogCommitter, onThisThread: Bool
  ) async throws {
    seat.next = (log, ticket, consume line, onThisThread)
    try await finish(ticket, log)
  }

  // Not inlined, and it reads memory: the hop must not be removed.
  @inline(never)
  private func finish(_ ticket: UInt64, _ log: LogCommitter) throws { try log.check(ticket) }

  private final class Seat: SerialExecutor, InPlaceWork, @unchecked Sendable {  // of whose turn it is
    var next: (log: LogCommitter, ticket: UInt64, line: EventLine?, onThisThread: Bool)?
    private var job: UnownedJob?
    // Disks that stand may hold all of the threads that tasks share but one.
    private static let free = Atomic(Int(linux_usable_processors()) - 1)

    func enqueue(_ job: consuming ExecutorJob) {
      self.job = UnownedJob(job)
      InPlace.run(self)
    }

    func work() -> UnownedJob? {
      guard let (log, ticket, first, onThisThread) = next.take(), let job = job.take() else { return nil }
      var line = first
      let caller = Caller(ticket: ticket, isAlone: line != nil, job: job)
      let isFree = Self.free.subtract(1, ordering: .relaxed).newValue >= 0
      guard onThisThread && isFree else {
        Self.free.add(1, ordering: .relaxed)
        log.writeForAllOnOwnThread(caller, line)
        return nil
      }
      let ended = log.writeForAll(caller, &line)
      Self.free.add(1, ordering: .relaxed)  // from here on nothing stands
      log.hash(line, ended.sequence)
      return ended.job
    }
  }
}

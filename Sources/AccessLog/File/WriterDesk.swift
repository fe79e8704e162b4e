internal import CLinux
import KMSCore
import Synchronization

/// Where a caller writes for all. It is suspended before, so that it can go on at its deadline while its thread stands
/// in the kernel: being here is having written, or having waited too long.
actor WriterDesk {
  private nonisolated let seat = Seat()
  nonisolated var unownedExecutor: UnownedSerialExecutor {
    unsafe seat.asUnownedSerialExecutor()  // the seat lives as long as the desk
  }

  /// By the one caller that the queue lets write.
  ///
  /// - Parameter onThisThread: or on the log's own.
  nonisolated func write(_ ticket: UInt64, for log: AccessLogFile, onThisThread: Bool) async throws {
    seat.next = (log, ticket, onThisThread)
    try await finish(ticket, log)
  }

  // Not inlined, and it reads memory: the hop must not be removed.
  @inline(never)
  private func finish(_ ticket: UInt64, _ log: AccessLogFile) throws { try log.check(ticket) }

  private final class Seat: SerialExecutor, InPlaceWork, @unchecked Sendable {  // of one writer at a time
    var next: (log: AccessLogFile, ticket: UInt64, onThisThread: Bool)?
    private var job: UnownedJob?
    // Disks that stand may hold all of the threads that tasks share but one.
    private static let free = Atomic(Int(linux_usable_processors()) - 1)

    func enqueue(_ job: consuming ExecutorJob) {
      self.job = UnownedJob(job)
      InPlace.run(self)
    }

    func work() -> UnownedJob? {
      guard let (log, ticket, onThisThread) = next.take(), let job = job.take() else { return nil }
      let leader = CommitQueue.Leader(ticket: ticket, job: job)
      let isFree = Self.free.subtract(1, ordering: .relaxed).newValue >= 0
      defer { Self.free.add(1, ordering: .relaxed) }
      if onThisThread && isFree { return log.writeForAll(leader) }
      log.writeForAllOnOwnThread(leader)
      return nil
    }
  }
}

internal import KMSCore

/// A task that waits for a session. It is suspended, so that anybody can let it go on, on whatever thread.
final class Waiter: SerialExecutor, @unchecked Sendable {  // under the pool's lock, then the task's
  let wish: SessionPoolState.Wish
  let until: Moment
  private let pool: SessionPool
  var job: UnownedJob?
  /// False when the deadline passed.
  var isGranted = false

  init(_ wish: SessionPoolState.Wish, _ until: Moment, _ pool: SessionPool) {
    (self.wish, self.until, self.pool) = (wish, until, pool)
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    stays { pool.join(self, job) }
  }

  /// Being here is having waited.
  actor Gate {
    private nonisolated let waiter: Waiter
    init(_ waiter: Waiter) { self.waiter = waiter }
    nonisolated var unownedExecutor: UnownedSerialExecutor {
      unsafe waiter.asUnownedSerialExecutor()  // it outlives its gate
    }

    // Not inlined, and it reads memory: the hop must not be removed.
    @inline(never)
    func pass() -> Bool { waiter.isGranted }
  }
}

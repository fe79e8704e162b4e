import Dispatch
import Synchronization

/// Threads for what may stand for as long as a disk does: those that tasks share are too few for that.
final class DiskThreads: TaskExecutor {
  static let shared = DiskThreads()
  private let queue = DispatchQueue(label: "access-log-disk", attributes: .concurrent)

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { unsafe job.runSynchronously(on: self.asUnownedTaskExecutor()) }  // `self` is there for ever
  }

  /// Runs what blocks, while this thread waits no longer than that. What is late goes on by itself.
  ///
  /// - Returns: nil when it was late.
  func run<Answer: ~Copyable & Sendable>(
    atMost nanoseconds: UInt64, _ body: @escaping @Sendable () -> Answer
  ) -> Answer? {
    let (slot, isThere) = (Slot<Answer>(), DispatchSemaphore(value: 0))
    queue.async {
      slot.put(body())
      isThere.signal()
    }
    guard isThere.wait(timeout: .now() + .nanoseconds(Int(nanoseconds))) == .success else { return nil }
    return slot.take()
  }

  private final class Slot<Value: ~Copyable & Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)
    func put(_ value: consuming Value) {
      var value: Value? = value
      self.value.withLock { $0 = value.take() }
    }
    func take() -> Value? { value.withLock { $0.take() } }
  }
}

/// Waits for `body`, no longer than that; what is late goes on by itself.
///
/// - Returns: false when it was late.
func within(_ nanoseconds: UInt64, _ body: @escaping @Sendable () async -> Void) async -> Bool {
  await withCheckedContinuation { continuation in
    let first = FirstAnswer(continuation)
    Task.detached(executorPreference: DiskThreads.shared) {
      await body()
      first.give(true)
    }
    DispatchQueue.global().asyncAfter(deadline: .now() + .nanoseconds(Int(nanoseconds))) { first.give(false) }
  }
}

private final class FirstAnswer: Sendable {
  private let waiting: Mutex<CheckedContinuation<Bool, Never>?>
  init(_ waiting: CheckedContinuation<Bool, Never>) { self.waiting = Mutex(waiting) }
  func give(_ answer: Bool) { waiting.withLock { $0.take() }?.resume(returning: answer) }
}

import KMSCore
import Synchronization

/// Who waits for the log, in order, and whether somebody writes for them. A value: its owner locks it.
struct CommitQueue {
  struct Waiter {
    let ticket: UInt64
    let lines: [EventLine]
    let wish: Wish
    var waiting: Waiting
  }

  /// What is to be done once its lines are written.
  enum Wish {
    case nothing, checkpoint, close
    case end(Mailbox)
  }

  /// For what a writer left behind when it ended.
  final class Mailbox: Sendable {
    let ended = Mutex<EndedLog?>(nil)
  }

  enum Waiting {
    case nobody
    /// On its thread, for some microseconds: it takes over the writing when that is free.
    case looking
    case suspended(CheckedContinuation<Void, any Error>, expires: UInt64)

    var expires: UInt64 { if case .suspended(_, let expires) = self { expires } else { .max } }
    var isLooking: Bool { if case .looking = self { true } else { false } }
  }

  /// What a caller is to do.
  enum Role {
    /// Write, and for all who wait.
    case write
    /// Somebody writes.
    case wait
    /// Have the log's own thread write.
    case wake
    case done(Result<Void, KMSError>)
  }

  /// Whether it pays to look for a moment.
  enum Phase: UInt8 { case free, briefly, long }

  var phase: Phase { hasOwnThread ? .long : isWriting ? .briefly : .free }

  private(set) var pending: [Waiter] = []
  private var inFlight: [Waiter] = []
  /// Somebody takes batches from ``pending``.
  private(set) var isWriting = false
  /// The log's own thread writes, as a write may take long.
  var hasOwnThread = false
  private(set) var isClosed = false
  /// A timer runs for whom waits longest.
  var isWatched = false
  private var nextTicket: UInt64 = 1
  /// For those of a failed batch who still look.
  private var failures: [UInt64: KMSError] = [:]
  /// Callers of the last batch: when they came together once, they will again.
  private(set) var company = 1

  static let closed = KMSError(.accessLogUnavailable, "the access log is closed", advice: "Open it again.")
  static let late = KMSError(
    .accessLogUnavailable, "the access log took no event within its deadline",
    advice: "Look whether its disk is full or stalled; calls go on as soon as it can be written.")

  // MARK: Coming

  /// One more that waits.
  mutating func join(_ lines: [EventLine], _ wish: Wish, _ waiting: Waiting) -> (ticket: UInt64, Role) {
    guard !isClosed else { return (0, .done(.failure(Self.closed))) }
    if case .close = wish { isClosed = true }
    let ticket = nextTicket
    nextTicket += 1
    pending.append(Waiter(ticket: ticket, lines: lines, wish: wish, waiting: waiting))
    return (ticket, lead())
  }

  private mutating func lead() -> Role {
    if isWriting { return .wait }
    isWriting = true
    return hasOwnThread ? .wake : .write
  }

  /// What one is to do who looks.
  mutating func lead(_ ticket: UInt64) -> Role {
    if isWriting { return .wait }
    guard let first = pending.first, first.ticket <= ticket else { return .done(result(of: ticket)) }
    return lead()
  }

  /// For one that has looked long enough, or whose log has a thread of its own.
  mutating func suspend(
    _ ticket: UInt64, _ continuation: CheckedContinuation<Void, any Error>, expires: UInt64
  ) -> Role {
    let waiting = Waiting.suspended(continuation, expires: expires)
    if let i = pending.firstIndex(where: { $0.ticket == ticket }) {
      pending[i].waiting = waiting
      return lead()
    }
    if let i = inFlight.firstIndex(where: { $0.ticket == ticket }) {
      inFlight[i].waiting = waiting
      return .wait
    }
    return .done(result(of: ticket))
  }

  /// Of one whose batch was written, or was not.
  mutating func result(of ticket: UInt64) -> Result<Void, KMSError> {
    failures.removeValue(forKey: ticket).map { .failure($0) } ?? .success(())
  }

  // MARK: Writing

  mutating func takeBatch() -> [Waiter] {
    inFlight = pending
    pending = []
    if inFlight.isEmpty { isWriting = false } else { company = inFlight.count }
    return inFlight
  }

  /// The end of a batch. Whom to resume; and whether the same is to go on, as nobody who looks takes over.
  mutating func finishBatch(_ error: KMSError?) -> (resume: [Waiter], goesOn: Bool) {
    let done = inFlight  // without those whose deadline has passed
    inFlight = []
    if let error { for waiter in done where waiter.waiting.isLooking { failures[waiter.ticket] = error } }
    isWriting = !pending.isEmpty && (hasOwnThread || !pending.contains { $0.waiting.isLooking })
    if !pending.isEmpty { company = done.count + pending.count }
    return (done, isWriting)
  }

  // MARK: Deadline

  /// Takes out those who have waited too long, and says when the next has. Lines in flight may yet be written; the
  /// others never are.
  mutating func expire(_ now: UInt64) -> (late: [Waiter], next: UInt64?) {
    var late: [Waiter] = []
    func sort(_ waiters: inout [Waiter]) {
      guard waiters.contains(where: { $0.waiting.expires <= now }) else { return }
      late += waiters.filter { $0.waiting.expires <= now }
      waiters.removeAll { $0.waiting.expires <= now }
    }
    sort(&inFlight)
    sort(&pending)
    let next = (inFlight + pending).map(\.waiting.expires).min() ?? .max
    isWatched = next != .max
    return (late, isWatched ? next : nil)
  }
}

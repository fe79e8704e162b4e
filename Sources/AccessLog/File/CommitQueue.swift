import KMSCore
import Synchronization
import SystemPackage

/// Lines that wait to be written, in order, who waits for them, and whether somebody writes. A value: its owner
/// locks it.
///
/// A caller holds a ticket. It looks for some microseconds whether its lines are written or it can write itself;
/// then it is suspended.
struct CommitQueue {
  /// What is to be done once lines are written.
  enum Wish {
    case nothing, checkpoint, close
    case end(Mailbox)
  }

  /// For what a writer left behind when it ended.
  final class Mailbox: Sendable {
    private let ended = Mutex<EndedLog?>(nil)
    func put(_ log: EndedLog?) { ended.withLock { $0 = log } }
    func take() -> EndedLog? { ended.withLock { $0.take() } }
    // Nobody waited for it any more.
    deinit { try? take()?.file.close() }
  }

  /// What a caller is to do.
  enum Role {
    /// Write, and for all who wait.
    case write
    /// Somebody writes.
    case wait
    /// Have the log's own thread write.
    case wake
    /// It is written, unless there is a ``failure(of:)``.
    case done
  }

  /// Whether it pays to look for a moment.
  enum Phase: UInt8 { case free, briefly, long }

  struct Suspended {
    let ticket: UInt64
    let expires: UInt64
    let continuation: CheckedContinuation<Void, any Error>
  }

  /// A caller that writes, and is suspended while its thread does.
  struct Leader {
    let ticket: UInt64
    let job: UnownedJob
  }

  /// What is written in one go. Each part belongs to a ticket.
  struct Batch {
    var lines: [(ticket: UInt64, line: EventLine)] = []
    var wishes: [(ticket: UInt64, wish: Wish)] = []
    var callers = 0

    mutating func removeAll() {
      lines.removeAll(keepingCapacity: lines.capacity <= 1 << 12)
      wishes = []
      callers = 0
    }
  }

  private var pending = Batch()
  /// Tickets from 1: given out, taken into a batch, and done.
  private(set) var given: UInt64 = 0
  private var taken: UInt64 = 0
  private(set) var completed: UInt64 = 0
  private var suspended: [Suspended] = []
  /// Set while it takes batches, until its deadline.
  private var leader: (caller: Leader, expires: UInt64)?
  /// Tickets, not completed, for which nobody asks any more.
  private var unasked: Set<UInt64> = []
  /// For those of a failed batch who still look.
  private var failures: [UInt64: KMSError] = [:]
  /// Somebody takes batches.
  private(set) var isWriting = false
  /// The log's own thread writes, as a write may take long.
  var hasOwnThread = false
  private(set) var isClosed = false
  /// A timer runs for whom waits longest.
  var isWatched = false
  /// Callers of the last batch: when they came together once, they will again.
  private(set) var company = 1

  var phase: Phase { hasOwnThread ? .long : isWriting ? .briefly : .free }
  var waiting: Int { pending.callers }

  // MARK: Coming

  /// One more. Nothing when the log is closed.
  mutating func join(_ line: EventLine) -> (ticket: UInt64, Role)? {
    guard let ticket = nextTicket() else { return nil }
    pending.lines.append((ticket, line))
    return (ticket, lead())
  }

  mutating func join(
    _ lines: [EventLine], _ wish: Wish = .nothing, isAsked: Bool = true
  ) -> (ticket: UInt64, Role)? {
    guard let ticket = nextTicket() else { return nil }
    for line in lines { pending.lines.append((ticket, line)) }
    if case .close = wish { isClosed = true }
    if case .nothing = wish {} else { pending.wishes.append((ticket, wish)) }
    if !isAsked { unasked.insert(ticket) }
    return (ticket, lead())
  }

  private mutating func nextTicket() -> UInt64? {
    if isClosed { return nil }
    pending.callers += 1
    given += 1
    return given
  }

  private mutating func lead() -> Role {
    if isWriting { return .wait }
    isWriting = true
    return hasOwnThread ? .wake : .write
  }

  /// What one is to do who looks.
  mutating func lead(_ ticket: UInt64) -> Role { ticket <= completed ? .done : lead() }

  /// For one that has looked long enough, or whose log has a thread of its own.
  mutating func suspend(_ caller: Suspended) -> Role {
    guard caller.ticket > completed else { return .done }
    suspended.append(caller)
    return caller.ticket > taken ? lead() : .wait
  }

  /// Of one that is done: nil when its lines are written.
  mutating func failure(of ticket: UInt64) -> KMSError? { failures.removeValue(forKey: ticket) }

  // MARK: Writing

  /// All that waits, for an empty one whose memory is used again.
  ///
  /// - Parameter leader: with the first batch that it takes; it stays until it is taken out.
  /// - Returns: whether a timer is to be started for the leader.
  mutating func take(_ batch: inout Batch, _ leader: Leader?, expires: UInt64) -> Bool {
    swap(&pending, &batch)
    taken = given
    if batch.callers == 0 { isWriting = false } else { company = batch.callers }
    guard let leader else { return false }
    self.leader = (leader, expires)
    defer { isWatched = true }
    return !isWatched
  }

  /// Whom the thread that wrote lets go on; nil when it went on at its deadline.
  mutating func takeLeader() -> UnownedJob? {
    defer { leader = nil }
    return leader?.caller.job
  }

  /// The end of a batch. Whom to resume; and whether the same is to go on, as nobody who looks takes over.
  mutating func finish(_ error: KMSError?) -> (resume: [Suspended], goesOn: Bool) {
    let first = completed + 1
    completed = taken
    let done = suspended.isEmpty ? [] : suspended.filter { $0.ticket <= completed }
    if !done.isEmpty { suspended.removeAll { $0.ticket <= completed } }
    if let error, first <= completed {
      let told = unasked.union(done.map(\.ticket))
      for ticket in first...completed where !told.contains(ticket) { failures[ticket] = error }
    }
    if !unasked.isEmpty { unasked = unasked.filter { $0 > completed } }
    company += pending.callers
    let looking = pending.callers - suspended.count - unasked.count
    isWriting = pending.callers > 0 && (hasOwnThread || looking == 0)
    return (done, isWriting)
  }

  // MARK: Deadline

  /// Takes out those who have waited too long, and says when the next has.
  ///
  /// Their lines may yet be written if they are in flight already, and are not otherwise.
  mutating func expire(
    _ now: UInt64, _ error: KMSError
  ) -> (late: [Suspended], leader: UnownedJob?, next: UInt64?) {
    let late = suspended.filter { $0.expires <= now }
    if !late.isEmpty {
      suspended.removeAll { $0.expires <= now }
      let tickets = Set(late.map(\.ticket))
      unasked.formUnion(tickets)
      pending.lines.removeAll { tickets.contains($0.ticket) }
      pending.wishes.removeAll { ticket, wish in
        if case .close = wish { return false }  // whoever gets to it closes
        return tickets.contains(ticket)
      }
    }
    var job: UnownedJob?
    if let (caller, expires) = leader, expires <= now {
      job = takeLeader()
      if caller.ticket > completed {
        failures[caller.ticket] = error
        unasked.insert(caller.ticket)
      }
    }
    let next = (suspended.map(\.expires) + (leader.map { [$0.expires] } ?? [])).min()
    isWatched = next != nil
    return (late, job, next)
  }
}

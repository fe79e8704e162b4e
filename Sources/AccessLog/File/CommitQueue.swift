import KMSCore
import Synchronization

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
    let ended = Mutex<EndedLog?>(nil)
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
  mutating func take(_ batch: inout Batch) {
    swap(&pending, &batch)
    taken = given
    if batch.callers == 0 { isWriting = false } else { company = batch.callers }
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
  mutating func expire(_ now: UInt64) -> (late: [Suspended], next: UInt64?) {
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
    let next = suspended.map(\.expires).min()
    isWatched = next != nil
    return (late, next)
  }
}

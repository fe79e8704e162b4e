import KMSCore
import Synchronization
import SystemPackage

/// Lines that wait to be written, in order, and who waits for them. A value: its owner locks it.
///
/// A caller holds a ticket. It is written by whoever has the turn (``Turn``).
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
  private var given: UInt64 = 0
  private var taken: UInt64 = 0
  private var completed: UInt64 = 0
  private var suspended: [Suspended] = []
  /// Tickets, not completed, for which nobody asks any more.
  private var unasked: Set<UInt64> = []
  /// For those of a failed batch who are about to ask.
  private var failures: [UInt64: KMSError] = [:]
  private var isClosed = false

  var isEmpty: Bool { pending.callers == 0 }

  // MARK: Coming

  /// One more caller. Nil when the log is closed.
  ///
  /// - Parameter isAsked: whether it will ask what became of it.
  mutating func join(_ lines: [EventLine], _ wish: Wish = .nothing, isAsked: Bool = true) -> UInt64? {
    if isClosed { return nil }
    pending.callers += 1
    given += 1
    for line in lines { pending.lines.append((given, line)) }
    if case .close = wish { isClosed = true }
    if case .nothing = wish {} else { pending.wishes.append((given, wish)) }
    if !isAsked { unasked.insert(given) }
    return given
  }

  /// False for one that is done already.
  mutating func suspend(_ caller: Suspended) -> Bool {
    guard caller.ticket > completed else { return false }
    suspended.append(caller)
    return true
  }

  /// Of one that is done: nil when its lines are written.
  mutating func failure(of ticket: UInt64) -> KMSError? { failures.removeValue(forKey: ticket) }

  // MARK: Writing

  /// All that waits, for an empty one whose memory is used again.
  mutating func take(_ batch: inout Batch) {
    swap(&pending, &batch)
    taken = given
  }

  /// The end of a batch. Whom to resume.
  mutating func finish(_ error: KMSError?) -> [Suspended] {
    let first = completed + 1
    completed = taken
    let done = suspended.isEmpty ? [] : suspended.filter { $0.ticket <= completed }
    if !done.isEmpty { suspended.removeAll { $0.ticket <= completed } }
    if let error, first <= completed {
      let told = unasked.union(done.map(\.ticket))
      for ticket in first...completed where !told.contains(ticket) { failures[ticket] = error }
    }
    if !unasked.isEmpty { unasked = unasked.filter { $0 > completed } }
    return done
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
    return (late, suspended.map(\.expires).min())
  }

  /// For one that went on before it was done.
  mutating func forget(_ ticket: UInt64) {
    if ticket > completed { unasked.insert(ticket) } else { failures[ticket] = nil }
  }
}

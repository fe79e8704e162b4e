internal import CLinux
import Dispatch
import KMSCore
import Synchronization

/// Writes lines in the order in which it numbers them, for any number of callers.
///
/// Callers write in turn (``Turn``), each its own line in its own thread. The task of who writes is suspended meanwhile
/// (``WriterDesk``), so that it goes on at its deadline though its thread stands in the kernel. Who does not get a turn
/// within some microseconds queues up, and whoever has it then writes the whole queue in one go (group commit,
/// ``CommitQueue``). Where a write is known to take long (every batch is synced, the disk has become slow, a file system
/// that is no disk of this machine) all queue up, and a thread of the log's own writes.
///
/// Nothing refers to it weakly where calls are many: its references would be counted in a second place.
final class LogCommitter: Sendable {
  private struct Writer: ~Copyable {
    var lines: LineWriter
    var batch = CommitQueue.Batch()
    var isClosed = false
  }

  private let turn = Turn()
  private let desks = (0..<HeldThreads.processors).map { _ in WriterDesk() }
  let deadline: UInt64
  private let isSynced: Bool
  /// Nil: nothing is signed.
  private let tree: LogTree?
  private let aftercare: LogAftercare
  private let ownThread = DispatchQueue(label: "access-log")
  private let watching = DispatchQueue(label: "access-log-deadline")
  // A timer runs for whom waits longest.
  private let isWatched = Atomic(false)
  private let hasFailures = Atomic(false)
  // All look at what is above, and each writer changes what is below.
  private let padding = InlineArray<16, UInt64>(repeating: 0)
  // Of whose turn it is.
  private let writer: Mutex<Writer>
  private let queue = Mutex(CommitQueue())

  init(
    _ settings: AccessLogSettings, _ lines: consuming LineWriter, _ tree: LogTree?, _ aftercare: LogAftercare
  ) {
    self.tree = tree
    self.aftercare = aftercare
    deadline = settings.deadlineNanoseconds
    isSynced = settings.durability == .synced
    turn.setTakesLong(settings.durability == .synced || lines.mayBlock)
    writer = Mutex(Writer(lines: lines))
    HeldThreads.logOpened()
  }

  deinit { HeldThreads.logClosed() }

  /// Whether the log of that name is the one that is written.
  func writes(_ origin: String) -> Bool { tree?.origin == origin }

  // MARK: Waiting

  /// Returns when the line is written, and on the disk where the log is `synced`.
  ///
  /// - Throws: ``KMSError/Code/accessLogUnavailable`` on a failure or after the deadline.
  func commit(_ line: consuming EventLine) async throws {
    guard let desk = takeDesk(InPlace.mayHoldThread(of: #isolation)) else { return try await commit([line]) }
    switch await desk.write(consume line, for: self) {
    case .written: return
    case .failed(let error): throw error
    case .late: throw Self.late()
    case .notItsTurn(let line): try await join(line.map { [$0] } ?? [], .nothing, nil)
    }
  }

  /// The same for lines that are written in one go.
  func commit(_ lines: [EventLine], _ wish: CommitQueue.Wish = .nothing) async throws {
    try await join(lines, wish, takeDesk(InPlace.mayHoldThread(of: #isolation)))
  }

  /// Queues up; and writes the queue, at the desk, or waits until it is written.
  private func join(_ lines: [EventLine], _ wish: CommitQueue.Wish, _ desk: WriterDesk?) async throws {
    guard let ticket = withQueue({ $0.join(lines, wish) }) else {
      desk?.leave()
      throw Self.closed()
    }
    switch await desk?.write(nil, for: self) {
    case nil, .notItsTurn: break
    case .written, .failed: return try check(ticket)
    case .late:
      withQueue { $0.forget(ticket) }
      throw Self.late()
    }
    writeSoon()
    try await withCheckedThrowingContinuation { continuation in
      let caller = CommitQueue.Suspended(
        ticket: ticket, expires: monotonicNanoseconds() + deadline, continuation: continuation)
      if withQueue({ $0.suspend(caller) }) {
        watch(after: deadline)
      } else {
        continuation.resume(with: Result { try check(ticket) })
      }
    }
  }

  /// The same where nobody waits for it. False when the log is closed.
  func commitLater(_ lines: [EventLine], _ wish: CommitQueue.Wish) -> Bool {
    guard withQueue({ $0.join(lines, wish, isAsked: false) }) != nil else { return false }
    writeSoon()
    return true
  }

  private func withQueue<Value>(_ body: (inout CommitQueue) -> sending Value) -> sending Value {
    queue.withLock { queue in
      let value = body(&queue)
      turn.setWaitedFor(!queue.isEmpty)
      return value
    }
  }

  /// What is in the queue is written by whoever has the turn, or by the log's own thread.
  private func writeSoon() {
    if turn.take() { ownThread.async { self.drain() } }
  }

  /// A desk for the caller's thread; nil where that must not be held.
  private func takeDesk(_ mayHoldThread: Bool) -> WriterDesk? {
    guard mayHoldThread, !turn.takesLong else { return nil }
    let own = Int(linux_processor())
    for i in 0..<desks.count {
      let desk = desks[(own + i) % desks.count]
      if desk.take() { return desk }
    }
    return nil
  }

  /// For ``writeForAll(_:_:_:)``; nil when others have the turn for longer than some microseconds.
  func takeTurn() -> HeldThreads.Hold? {
    guard turn.takeSoon() else { return nil }
    if let hold = HeldThreads.take() { return hold }
    release()
    return nil
  }

  private func release() {
    if turn.release() { ownThread.async { self.drain() } }
  }

  /// Of one that is done.
  private func check(_ ticket: UInt64) throws {
    guard hasFailures.load(ordering: .relaxed) else { return }
    if let error = withQueue({ $0.failure(of: ticket) }) { throw error }
  }

  // MARK: Writing

  // A caller writes for others no longer than this many batches.
  private static let batchesInARow = 4
  // From this time for a batch on, the log's own thread writes.
  private static let slow: UInt64 = 2_000_000

  /// On the thread of a caller that has the turn: what it has to write, and then what is in the queue.
  ///
  /// - Parameter line: what it writes past the queue, if it does.
  /// - Returns: the number of its line.
  func writeForAll(
    _ line: inout EventLine?, since start: UInt64, _ hold: HeldThreads.Hold
  ) -> Result<UInt64, KMSError>? {
    var result: Result<UInt64, KMSError>?
    if line != nil { result = writeAlone(&line!, start) } else { writeBatch(start) }
    var batches = 1
    while turn.isWaitedFor, !turn.takesLong, batches < Self.batchesInARow {
      // A batch may need the tree of all records that are written (a checkpoint, an end, a new file): of this one, too.
      if case .success(let sequence)? = result, let written = line.take() { hash(written, sequence) }
      writeBatch()
      batches += 1
    }
    HeldThreads.giveBack(hold)  // from here on nothing stands
    if turn.isWaitedFor { ownThread.async { self.drain() } } else { release() }
    return result
  }

  /// What a caller wrote past the queue goes into the tree, when the turn is the next one's.
  func hash(_ line: EventLine, _ sequence: UInt64) {
    guard let tree else { return }
    aftercare.sign(tree.add(line.bytes.span.extracting(line.record), sequence), self)
  }

  /// On the log's own thread, which has the turn.
  private func drain() {
    repeat {
      while turn.isWaitedFor { writeBatch() }
    } while turn.release()
  }

  /// Its number in the tree.
  private func writeAlone(_ line: inout EventLine, _ start: UInt64) -> Result<UInt64, KMSError> {
    writer.withLock { writer in
      defer { takeCare(&writer, since: start) }
      if writer.isClosed { return .failure(Self.closed()) }
      do throws(KMSError) { return .success(try writer.lines.write(&line, now: start)) } catch {
        writer.lines.hash()
        return .failure(error)
      }
    }
  }

  private func writeBatch(_ start: UInt64 = monotonicNanoseconds()) {
    writer.withLock { writer in
      withQueue { $0.take(&writer.batch) }
      let error = write(&writer, now: start)
      if error != nil { hasFailures.store(true, ordering: .relaxed) }
      aftercare.offerCopies(&writer.lines)
      for caller in withQueue({ $0.finish(error) }) {
        caller.continuation.resume(with: error.map { .failure($0) } ?? .success(()))
      }
      writer.lines.hash()
      takeCare(&writer, since: start)
      writer.batch.removeAll()
    }
  }

  private func write(_ writer: inout Writer, now: UInt64) -> KMSError? {
    defer {
      for case (_, .close) in writer.batch.wishes {
        writer.lines.close()
        writer.isClosed = true
      }
    }
    do throws(KMSError) {
      try writer.lines.write(&writer.batch.lines, now: now)
      for case (_, .end(let mailbox)) in writer.batch.wishes {
        let ended = try writer.lines.end("closed")
        mailbox.put(ended)
      }
      return nil
    } catch { return error }
  }

  /// What is to be done after a write.
  private func takeCare(_ writer: inout Writer, since start: UInt64) {
    turn.setTakesLong(isSynced || writer.lines.mayBlock || monotonicNanoseconds() - start > Self.slow)
    let isAsked = writer.batch.wishes.contains { if case .checkpoint = $0.wish { true } else { false } }
    aftercare.follow(&writer.lines, isCheckpointAsked: isAsked, self)
  }

  // MARK: Deadline

  // One timer at a time, for the caller that waits longest.
  func watch(after nanoseconds: UInt64) {
    if isWatched.load(ordering: .relaxed) || isWatched.exchange(true, ordering: .acquiringAndReleasing) { return }
    watching.asyncAfter(deadline: .now() + .nanoseconds(Int(nanoseconds))) { self.expire() }
  }

  private func expire() {
    // Before it looks: who comes later sees that nobody watches.
    isWatched.store(false, ordering: .sequentiallyConsistent)
    let now = monotonicNanoseconds()
    let (late, next) = withQueue { $0.expire(now) }
    let deadlines = desks.map { $0.expire(now) } + [next]
    if let next = deadlines.compactMap({ $0 }).min() { watch(after: max(next, now) - now) }
    for caller in late { caller.continuation.resume(throwing: Self.late()) }
  }

  private static func closed() -> KMSError {
    KMSError(.accessLogUnavailable, "the access log is closed", advice: "Open it again.")
  }

  static func late(_ message: String = "the access log took no event within its deadline") -> KMSError {
    KMSError(
      .accessLogUnavailable, message,
      advice: "Look whether its disk is full or stalled; calls go on as soon as it can be written.")
  }
}

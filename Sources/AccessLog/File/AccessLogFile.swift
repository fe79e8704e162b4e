import Dispatch
public import KMSCore
import Synchronization
package import SystemPackage

/// The access log of one process: JSON Lines in a file of its own, in a folder that many processes may share.
///
/// Callers append their line to a queue. Whoever finds nobody writing writes the whole queue in one go, in its own
/// thread; the others wait for theirs to be written (group commit). When the disk has become slow, or every batch
/// is synced, a thread of the log's own writes instead, so that no caller is held beyond its deadline. Only the
/// caller that was writing when a quick disk stalled is held as long as the kernel holds it.
public final class AccessLogFile: AccessReporter, Sendable {
  private struct Waiter {
    let lines: [EventLine]
    let wish: Wish
    /// Nil: nobody waits.
    let continuation: CheckedContinuation<Void, any Error>?
    let expires: UInt64
  }

  /// What is to be done once its lines are written.
  private enum Wish {
    case nothing, checkpoint, close
    case end(Mailbox)
  }

  /// For what a writer left behind when it ended.
  private final class Mailbox: Sendable {
    let ended = Mutex<EndedLog?>(nil)
  }

  private struct State {
    var pending: [Waiter] = []
    var inFlight: [Waiter] = []
    /// Somebody takes batches from `pending` until it is empty.
    var isWriting = false
    var isSlow = false
    var isWatched = false
    var isClosed = false
  }

  private let state = Mutex(State())
  private let writer: Mutex<LineWriter>
  /// Somebody writes, and will soon have done so.
  private let isBriefly = Atomic(false)
  private let deadline: UInt64
  private let isSynced: Bool
  /// Whether operations without a principal are refused.
  public let requiresPrincipal: Bool
  private let settings: AccessLogSettings
  private let signer: LogSigner?
  private let onSigning: @Sendable (AccessEvent) -> Void
  private let isSigning = Atomic(false)
  private let signing = Mutex<Task<Void, Never>?>(nil)
  private let upkeep: LogUpkeep
  private let copies = Mutex<[LogCopy]>([])  // set once, when it can be named
  private let writing = DispatchQueue(label: "access-log")
  private let watching = DispatchQueue(label: "access-log-deadline")

  /// Makes the folder (0700) where there is none, and in it a new file (0600).
  ///
  /// - Throws: ``KMSError/Code/accessLogUnavailable``, ``KMSError/Code/configurationInvalid``.
  ///
  /// - Parameters:
  ///   - signer: signs checkpoints; nil leaves the log without.
  ///   - onSigning: told of each call that signs, or fails to; it must not block.
  public convenience init(
    _ settings: AccessLogSettings, signer: LogSigner? = nil,
    onSigning: @escaping @Sendable (AccessEvent) -> Void = { _ in }
  ) throws {
    try settings.validate()
    self.init(settings, try LineWriter(settings, sealedBy: signer?.keyName), signer, onSigning)
    copies.withLock { copies in
      copies = settings.copies.map { target in
        LogCopy(target) { [weak self] count, name in
          Task { [weak self] in try? await self?.enqueue([.copiesLost(count, name)]) }  // told again with the next
        }
      }
    }
    upkeep.begin()
    if signer != nil { beat() }
  }

  /// Writes to `descriptor` until that fails, then to files as usual. For tests.
  package convenience init(_ settings: AccessLogSettings, takingOwnershipOf descriptor: FileDescriptor) throws {
    try settings.validate()
    self.init(settings, LineWriter(settings, takingOwnershipOf: descriptor))
  }

  private init(
    _ settings: AccessLogSettings, _ writer: consuming LineWriter, _ signer: LogSigner? = nil,
    _ onSigning: @escaping @Sendable (AccessEvent) -> Void = { _ in }
  ) {
    self.settings = settings
    self.signer = signer
    self.onSigning = onSigning
    upkeep = LogUpkeep(settings, signer: signer)
    self.writer = Mutex(writer)
    let (seconds, attoseconds) = settings.deadline.components
    deadline = UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
    requiresPrincipal = settings.requiresPrincipal
    isSynced = settings.durability == .synced
  }

  /// Returns when the event is written, and on the disk where the log is `synced`.
  ///
  /// Cancelling the task changes nothing: what was done is logged.
  /// - Throws: ``KMSError/Code/accessLogUnavailable`` on a failure or after the deadline. The next event is tried
  ///   anew.
  public func report(_ event: AccessEvent) async throws {
    try await enqueue([EventLine(event)])
  }

  /// The same for events that belong together: they are written in one go.
  public func report(_ events: [AccessEvent]) async throws {
    if !events.isEmpty { try await enqueue(events.map { EventLine($0) }) }
  }

  /// Waits for what is on its way, and closes the file. Events that come later fail.
  public func close() async {
    await seal()
    await upkeep.finish()
    for copy in copies.withLock({ $0 }) { await copy.finish() }
    try? await enqueue([], then: .close)  // without a line it can only be late, or closed already
    _ = writer.withLockIfAvailable { $0.close() }  // held by a stalled write: closed when the log goes
  }

  /// Ends this process' log by a record and a checkpoint that covers all. Events may follow: they begin another.
  ///
  /// Without a signer nothing is to be done. Where the checkpoint fails, the next start makes it.
  public func seal() async {
    guard let signer else { return }
    await upkeep.crashedLogsAreClosed()
    await signing.withLock { $0 }?.value
    let mailbox = Mailbox()
    try? await enqueue([], then: .end(mailbox))
    guard let ended = mailbox.ended.withLock({ $0 }) else { return }
    let note = try? await signer.sign(ended.checkpoint.text)
    try? ended.finish(note, durability: settings.durability)
  }

  private enum Role { case write, wait, wake, refused }

  private func enqueue(_ lines: [EventLine], then wish: Wish = .nothing) async throws {
    waitBriefly()
    try await withCheckedThrowingContinuation { continuation in
      let waiter = Waiter(
        lines: lines, wish: wish, continuation: continuation, expires: monotonicNanoseconds() + deadline)
      let role = state.withLock { state -> Role in
        if state.isClosed { return .refused }
        if case .close = wish { state.isClosed = true }
        state.pending.append(waiter)
        if state.isWriting { return .wait }
        state.isWriting = true
        if isSynced || state.isSlow { return .wake }
        isBriefly.store(true, ordering: .relaxed)
        return .write
      }
      switch role {
      case .write: drain()
      case .wait: watch()
      case .wake:
        watch()
        writing.async { self.drain() }
      case .refused:
        continuation.resume(
          throwing: KMSError(.accessLogUnavailable, "the access log is closed", advice: "Open it again."))
      }
    }
  }

  // About 10 µs. A write takes 2, and being suspended and resumed many more: so a caller first looks for that long
  // whether it can write itself.
  private static let looks = 20_000

  private func waitBriefly() {
    var looks = 0
    while looks < Self.looks, isBriefly.load(ordering: .relaxed) { looks += 1 }
  }

  // MARK: Writing

  // A caller writes for others no longer than this many batches; its own is in the first.
  private static let batchesInARow = 4
  // From this time for a batch on, the log's own thread writes.
  private static let slow: UInt64 = 2_000_000

  private func drain() {
    for _ in 0..<Self.batchesInARow {
      let batch = state.withLock { state -> [Waiter] in
        state.isWriting = !state.pending.isEmpty
        if !state.isWriting { isBriefly.store(false, ordering: .relaxed) }
        swap(&state.pending, &state.inFlight)
        return state.inFlight
      }
      if batch.isEmpty { return }
      let start = monotonicNanoseconds()
      let (result, checkpoint, finished) = writer.withLock { writer in
        let result = Result { () throws(KMSError) in try Self.write(batch, by: &writer, now: start) }
        let isDue = signer != nil && !isSigning.load(ordering: .relaxed)
        let checkpoint = isDue ? writer.dueForCheckpoint(after: Self.wanted(batch)) : nil
        if !settings.copies.isEmpty {
          copies.withLock { for copy in $0 { copy.offer(writer.forCopies) } }
          writer.forCopies = []
        }
        defer { writer.finished = [] }
        return (result, checkpoint, writer.finished)
      }
      if let checkpoint { sign(checkpoint) }
      if !finished.isEmpty { upkeep.tidy() }
      let isSlow = monotonicNanoseconds() - start > Self.slow
      let waiting = state.withLock { state -> [Waiter] in
        state.isSlow = isSlow
        defer { state.inFlight = [] }
        return state.inFlight  // without those whose deadline has passed
      }
      for waiter in waiting { waiter.continuation?.resume(with: result.mapError { $0 as any Error }) }
      if isSlow { break }
    }
    isBriefly.store(false, ordering: .relaxed)
    writing.async { self.drain() }
  }

  private static func write(_ batch: [Waiter], by writer: inout LineWriter, now: UInt64) throws(KMSError) {
    // A log that was sealed has nothing to show life of.
    if !writer.isOpen, batch.count == 1, case .checkpoint = batch[0].wish { return }
    try writer.write(batch.flatMap(\.lines), now: now)
    for case .end(let mailbox) in batch.map(\.wish) {
      let ended = try writer.end("closed")
      mailbox.ended.withLock { $0 = ended }
    }
  }

  // MARK: Checkpoints

  private static let recordsBetweenCheckpoints: UInt64 = 1000
  private static let heartbeat = DispatchTimeInterval.seconds(60)

  /// How many records must be new for a checkpoint. A heartbeat is, and asks for one.
  private static func wanted(_ batch: [Waiter]) -> UInt64 {
    for case .checkpoint in batch.map(\.wish) { return 1 }
    return recordsBetweenCheckpoints
  }

  // One at a time: where signing is slower than logging, each covers all that came meanwhile.
  private func sign(_ checkpoint: Checkpoint) {
    guard let signer, !isSigning.exchange(true, ordering: .acquiringAndReleasing) else { return }
    let task = Task {
      let start = monotonicNanoseconds()
      var event = AccessEvent(
        .sign, provider: signer.providerName, access: EventLine.own,
        reason: "checkpoint of \(checkpoint.size) records")
      var lines: [EventLine] = []
      do {
        lines = [EventLine.checkpoint(try await signer.sign(checkpoint.text))]
      } catch {
        event.errorCode = (error as? KMSError)?.code ?? .cancelled
        event.errorMessage = (error as? KMSError)?.message ?? "cancelled"
      }
      event.timestamp = .now()
      event.duration = .nanoseconds(Int64(monotonicNanoseconds() - start))
      lines.append(.signed(event))
      onSigning(event)
      for i in lines.indices { lines[i].origin = checkpoint.origin }
      try? await enqueue(lines)  // where it is lost, the next one covers the same
      isSigning.store(false, ordering: .releasing)
    }
    signing.withLock { $0 = task }
  }

  private func beat() {
    watching.asyncAfter(deadline: .now() + Self.heartbeat) { [weak self] in
      guard let self else { return }
      // By no task: it must not wait for the others of a busy process. A log that does not take it shows that.
      let waiter = Waiter(
        lines: [.heartbeat()], wish: .checkpoint, continuation: nil, expires: monotonicNanoseconds() + deadline)
      let mustWrite = state.withLock { state in
        guard !state.isClosed else { return false }
        state.pending.append(waiter)
        defer { state.isWriting = true }
        return !state.isWriting
      }
      if mustWrite { writing.async { self.drain() } }
      beat()
    }
  }

  // MARK: Deadline

  // One timer at a time, for the caller that waits longest.
  private func watch() {
    let isFirst = state.withLock { state in
      defer { state.isWatched = true }
      return !state.isWatched
    }
    if isFirst { watch(after: deadline) }
  }

  private func watch(after nanoseconds: UInt64) {
    watching.asyncAfter(deadline: .now() + .nanoseconds(Int(nanoseconds))) { [weak self] in self?.expire() }
  }

  private func expire() {
    let now = monotonicNanoseconds()
    let (late, next) = state.withLock { state -> ([Waiter], UInt64?) in
      var late: [Waiter] = []
      func sort(_ waiters: inout [Waiter]) {
        guard waiters.contains(where: { $0.expires <= now }) else { return }
        late += waiters.filter { $0.expires <= now }
        waiters.removeAll { $0.expires <= now }
      }
      sort(&state.inFlight)  // these lines may yet be written; the others never are
      sort(&state.pending)
      let next = (state.inFlight + state.pending).map(\.expires).min()
      state.isWatched = next != nil
      return (late, next)
    }
    if let next { watch(after: next - now) }
    let error = KMSError(
      .accessLogUnavailable, "the access log took no event within its deadline",
      advice: "Look whether its disk is full or stalled; calls go on as soon as it can be written.")
    for waiter in late { waiter.continuation?.resume(throwing: error) }
  }
}

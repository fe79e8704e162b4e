internal import CLinux
import Dispatch
public import KMSCore
import Synchronization
package import SystemPackage

/// The access log of one process: JSON Lines in a file of its own, in a folder that many processes may share.
///
/// Callers append their line to a queue. Whoever finds nobody writing writes the whole queue in one go, in its own
/// thread; the others wait for theirs to be written (group commit). Its task is suspended meanwhile (``WriterDesk``), so
/// that it goes on at its deadline though its thread stands in the kernel. Where a write is known to take long (every
/// batch is synced, the disk has become slow, a file system that is no disk of this machine) a thread of the log's own
/// writes instead.
public final class AccessLogFile: AccessReporter, Sendable {
  private let queue = Mutex(CommitQueue())
  private struct Writer: ~Copyable {
    var lines: LineWriter
    var batch = CommitQueue.Batch()
  }
  private let writer: Mutex<Writer>
  // What the queue was when it was last changed, for those who look at it without locking it.
  private let phase = Atomic(CommitQueue.Phase.free.rawValue)
  private let arrived = Atomic(0)
  /// All up to this ticket are written, or have failed.
  private let completed = Atomic<UInt64>(0)
  private let hasFailures = Atomic(false)
  private let deadline: UInt64
  private let isSynced: Bool
  /// Whether operations without a principal are refused.
  public let requiresPrincipal: Bool
  private let settings: AccessLogSettings
  /// Nil: nothing is signed.
  private let tree: LogTree?
  private let signer: LogSigner?
  private let signing: CheckpointSigning?
  private let upkeep: LogUpkeep
  private let copies = Mutex<[LogCopy]>([])  // set once, when it can be named
  private let desk = WriterDesk()
  private let writing = DispatchQueue(label: "access-log")
  private let watching = DispatchQueue(label: "access-log-deadline")

  /// Makes the folder (0700) where there is none, and in it a new file (0600). Waits for it no longer than the deadline.
  ///
  /// - Throws: ``KMSError/Code/accessLogUnavailable``, ``KMSError/Code/configurationInvalid``.
  ///
  /// - Parameters:
  ///   - signer: signs checkpoints; nil leaves the log without.
  ///   - onOwn: told of each call that signs a checkpoint, or fails to, and of copies that were lost; it must not block.
  public convenience init(
    _ settings: AccessLogSettings, signer: LogSigner? = nil,
    onOwn: @escaping @Sendable (AccessEvent) -> Void = { _ in }
  ) throws {
    try settings.validate()
    let tree = signer.map { LogTree(keyName: $0.keyName) }
    guard
      let writer = DiskThreads.shared.run(atMost: settings.deadlineNanoseconds, { LineWriter.begin(settings, tree) })
    else { throw Self.late("the access log's folder \(settings.directory) did not answer within its deadline") }
    self.init(settings, try writer.get(), tree, signer, onOwn)
    copies.withLock { copies in
      copies = settings.copies.map { target in
        LogCopy(target) { [weak self] count, name in
          let lost = EventLine.copiesLost(count, name)
          onOwn(lost)
          Task { [weak self] in try? await self?.commit([EventLine(lost, type: .copy)]) }  // told again with the next
        }
      }
    }
    upkeep.begin()
    if signer != nil { beat() }
  }

  /// Writes to `descriptor` until that fails, then to files as usual. For tests.
  ///
  /// - Parameter mayBlock: nil: as the descriptor's kind has it.
  package convenience init(
    _ settings: AccessLogSettings, takingOwnershipOf descriptor: FileDescriptor, mayBlock: Bool? = nil
  ) throws {
    try settings.validate()
    self.init(settings, LineWriter(settings, takingOwnershipOf: descriptor, mayBlock: mayBlock))
  }

  private init(
    _ settings: AccessLogSettings, _ writer: consuming LineWriter, _ tree: LogTree? = nil,
    _ signer: LogSigner? = nil, _ onOwn: @escaping @Sendable (AccessEvent) -> Void = { _ in }
  ) {
    self.settings = settings
    self.tree = tree
    self.signer = signer
    signing = signer.map { CheckpointSigning($0, onSigning: onOwn) }
    upkeep = LogUpkeep(settings, signer: signer)
    deadline = settings.deadlineNanoseconds
    requiresPrincipal = settings.requiresPrincipal
    isSynced = settings.durability == .synced
    let hasOwnThread = isSynced || writer.mayBlock
    self.writer = Mutex(Writer(lines: writer))
    withQueue { $0.hasOwnThread = hasOwnThread }
  }

  /// Returns when the event is written, and on the disk where the log is `synced`.
  ///
  /// Cancelling the task changes nothing: what was done is logged.
  /// - Throws: ``KMSError/Code/accessLogUnavailable`` on a failure or after the deadline. The next event is tried
  ///   anew.
  public func report(_ event: AccessEvent) async throws {
    let line = EventLine(event)
    try await commit { $0.join(line) }
  }

  /// The same for events that belong together: they are written in one go.
  public func report(_ events: [AccessEvent]) async throws {
    if !events.isEmpty { try await commit(events.map { EventLine($0) }) }
  }

  /// Waits for what is on its way, and closes the file. Events that come later fail.
  ///
  /// A disk that stands is waited for as long as an event is; what is not ended then, the next start ends.
  public func close() async {
    if await isSealed() { _ = await upkeep.finish(patience: deadline) }
    for copy in copies.withLock({ $0 }) { await copy.finish() }
    try? await commit([], .close)  // it can only be late, or closed already
  }

  /// Ends this process' log by a record and a checkpoint that covers all. Events may follow: they begin another.
  ///
  /// Without a signer nothing is to be done. Where the checkpoint fails, the next start makes it.
  public func seal() async { _ = await isSealed() }

  /// Seals it; false when the disk stands.
  private func isSealed() async -> Bool {
    guard let signer, let tree, let signing else { return true }
    guard await upkeep.crashedLogsAreClosed(patience: deadline) else { return false }
    sign(tree.hash(isAsked: false))
    await signing.finish()
    let mailbox = CommitQueue.Mailbox()
    guard (try? await commit([], .end(mailbox))) != nil else { return false }
    guard let ended = mailbox.take() else { return true }  // sealed already
    let note = try? await signer.sign(ended.checkpoint.text)
    return await within(deadline) { [settings] in try? ended.finish(note, durability: settings.durability) }
  }

  // MARK: Waiting

  private func withQueue<Value>(_ body: (inout CommitQueue) -> sending Value) -> sending Value {
    queue.withLock { queue in
      let value = body(&queue)
      phase.store(queue.phase.rawValue, ordering: .relaxed)
      arrived.store(queue.waiting, ordering: .relaxed)
      return value
    }
  }

  private func commit(_ lines: [EventLine], _ wish: CommitQueue.Wish = .nothing) async throws {
    try await commit { $0.join(lines, wish) }
  }

  private func commit(_ join: (inout CommitQueue) -> (ticket: UInt64, CommitQueue.Role)?) async throws {
    guard let (ticket, role) = withQueue({ join(&$0) }) else {
      throw KMSError(.accessLogUnavailable, "the access log is closed", advice: "Open it again.")
    }
    let mayStand = InPlace.mayHoldThread(of: #isolation)
    switch role {
    case .write: return try await desk.write(ticket, for: self, onThisThread: mayStand)
    case .wake: writing.async { self.drain() }
    case .wait:
      switch look(ticket) {
      case .done: return try check(ticket)
      case .write: return try await desk.write(ticket, for: self, onThisThread: mayStand)
      case .wake: writing.async { self.drain() }
      case .wait: break
      }
    case .done: return
    }
    try await withCheckedThrowingContinuation { continuation in
      let caller = CommitQueue.Suspended(
        ticket: ticket, expires: monotonicNanoseconds() + deadline, continuation: continuation)
      switch withQueue({ $0.suspend(caller) }) {
      case .done: return continuation.resume(with: Result { try check(ticket) })
      case .write, .wake:  // its task is held by this thread until this body ends
        watch()
        writing.async { self.drain() }
      case .wait: watch()
      }
    }
  }

  /// Of one that is done.
  func check(_ ticket: UInt64) throws {
    guard hasFailures.load(ordering: .relaxed) else { return }
    if let error = withQueue({ $0.failure(of: ticket) }) { throw error }
  }

  // About 10 µs. A write takes 2, and being suspended and resumed many more: so a caller first looks for that long
  // whether its line is written, or it can write itself. Meanwhile it hashes what others wrote.
  private static let looks = 500

  /// What it is to do: wait, where it has looked long enough.
  private func look(_ ticket: UInt64) -> CommitQueue.Role {
    let tree = tree
    for _ in 0..<Self.looks {
      if completed.load(ordering: .acquiring) >= ticket { return .done }
      switch CommitQueue.Phase(rawValue: phase.load(ordering: .relaxed)) {
      case .long: return .wait
      case .free:
        let role = withQueue { $0.lead(ticket) }
        if case .wait = role { break }
        return role
      default:
        if let tree, tree.hasBacklog { sign(tree.hashIfFree()) } else { linux_pause() }
      }
    }
    return .wait
  }

  // MARK: Writing

  // A caller writes for others no longer than this many batches; its own is in the first.
  private static let batchesInARow = 4
  // From this time for a batch on, the log's own thread writes.
  private static let slow: UInt64 = 2_000_000
  // Half a microsecond: as long as it takes to make a line.
  private static let looksForCompany = 100
  private static let processors = Int(linux_usable_processors())

  /// On the thread of a caller, whose own lines are in the first batch.
  ///
  /// - Returns: the caller, unless it went on at its deadline.
  func writeForAll(_ leader: CommitQueue.Leader) -> UnownedJob? {
    waitForCompany()
    var (goesOn, isSlow, job) = writeBatch(leader)
    var batches = 1
    while goesOn {
      if isSlow || batches == Self.batchesInARow {
        job = withQueue { $0.takeLeader() }
        writing.async { self.drain() }
        break
      }
      (goesOn, isSlow, job) = writeBatch()
      batches += 1
    }
    return job
  }

  /// The same where no thread can be spared.
  func writeForAllOnOwnThread(_ leader: CommitQueue.Leader) {
    writing.async { if let job = self.writeForAll(leader) { globalConcurrentExecutor.enqueue(job) } }
  }

  /// On the log's own thread.
  private func drain() {
    while writeBatch().goesOn {}
  }

  // Callers that came together before will again: one write for all of them is cheaper than one each.
  private func waitForCompany() {
    let company = min(withQueue { $0.company }, Self.processors)
    var looks = 0
    while looks < Self.looksForCompany, arrived.load(ordering: .relaxed) < company {
      looks += 1
      linux_pause()
    }
  }

  private func writeBatch(_ leader: CommitQueue.Leader? = nil) -> (goesOn: Bool, isSlow: Bool, leader: UnownedJob?) {
    let start = monotonicNanoseconds()
    let (goesOn, isSlow, job, hashing) = writer.withLock { writer in
      writer.batch.removeAll()
      let mustWatch = withQueue { $0.take(&writer.batch, leader, expires: start + deadline) }
      if mustWatch { watch(after: deadline) }
      let error = write(&writer, now: start)
      let hashing = takeCare(&writer)
      let isSlow = isSynced || writer.lines.mayBlock || monotonicNanoseconds() - start > Self.slow
      if error != nil { hasFailures.store(true, ordering: .relaxed) }
      let (done, goesOn, job, upTo) = withQueue { queue in
        queue.hasOwnThread = isSlow
        let (done, goesOn) = queue.finish(error)
        return (done, goesOn, goesOn ? nil : queue.takeLeader(), queue.completed)
      }
      completed.store(upTo, ordering: .releasing)
      for caller in done { caller.continuation.resume(with: error.map { .failure($0) } ?? .success(())) }
      return (goesOn, isSlow, job, hashing)
    }
    if let tree {
      switch hashing {
      case .byThoseWhoWait: break
      case .ifFree: sign(tree.hashIfFree())
      case .now(let isAsked): sign(tree.hash(isAsked: isAsked))
      }
    }
    return (goesOn, isSlow, job)
  }

  private func write(_ writer: inout Writer, now: UInt64) -> KMSError? {
    defer { for case (_, .close) in writer.batch.wishes { writer.lines.close() } }
    do throws(KMSError) {
      let isHeartbeat = writer.batch.callers == 1 && !writer.batch.wishes.isEmpty && !writer.batch.lines.isEmpty
      // A log that was sealed has nothing to show life of.
      if isHeartbeat && !writer.lines.isOpen { return nil }
      try writer.lines.write(writer.batch.lines, now: now)
      for case (_, .end(let mailbox)) in writer.batch.wishes {
        let ended = try writer.lines.end("closed")
        mailbox.put(ended)
      }
      return nil
    } catch { return error }
  }

  private enum Hashing {
    // Callers come together: one hashes while the other writes.
    case byThoseWhoWait
    case ifFree
    case now(isAsked: Bool)
  }

  /// What is to be done after a batch; and who is to hash it.
  private func takeCare(_ writer: inout Writer) -> Hashing {
    if !settings.copies.isEmpty {
      copies.withLock { for copy in $0 { copy.offer(writer.lines.forCopies) } }
      writer.lines.forCopies = []
    }
    if !writer.lines.finished.isEmpty {
      upkeep.tidy()
      writer.lines.finished = []
    }
    guard tree != nil else { return .byThoseWhoWait }
    sign(writer.lines.checkpoints)
    writer.lines.checkpoints = []
    defer { writer.lines.isHashingDue = false }
    for case (_, .checkpoint) in writer.batch.wishes { return .now(isAsked: true) }
    if writer.lines.isHashingDue { return .now(isAsked: false) }
    return writer.batch.callers > 1 ? .byThoseWhoWait : .ifFree
  }

  // MARK: Checkpoints

  private func sign(_ checkpoints: [Checkpoint]) {
    guard !checkpoints.isEmpty else { return }
    signing?.sign(checkpoints) { lines in (try? await self.commit(lines)) != nil }
  }

  private func beat() {
    watching.asyncAfter(deadline: .now() + .nanoseconds(Int(settings.heartbeatNanoseconds))) { [weak self] in
      guard let self else { return }
      // By no task: it must not wait for the others of a busy process. A log that does not take it shows that.
      guard let (_, role) = withQueue({ $0.join([.heartbeat()], .checkpoint, isAsked: false) }) else { return }
      switch role {
      case .write, .wake: writing.async { self.drain() }
      case .wait, .done: break
      }
      beat()
    }
  }

  // MARK: Deadline

  // One timer at a time, for the caller that waits longest.
  private func watch() {
    let isFirst = withQueue { queue in
      defer { queue.isWatched = true }
      return !queue.isWatched
    }
    if isFirst { watch(after: deadline) }
  }

  private func watch(after nanoseconds: UInt64) {
    watching.asyncAfter(deadline: .now() + .nanoseconds(Int(nanoseconds))) { [weak self] in self?.expire() }
  }

  private func expire() {
    let now = monotonicNanoseconds()
    let error = Self.late("the access log took no event within its deadline")
    let (late, leader, next) = withQueue { $0.expire(now, error) }
    if let next { watch(after: next - now) }
    for caller in late { caller.continuation.resume(throwing: error) }
    guard let leader else { return }
    hasFailures.store(true, ordering: .relaxed)
    globalConcurrentExecutor.enqueue(leader)
  }

  private static func late(_ message: String) -> KMSError {
    KMSError(
      .accessLogUnavailable, message,
      advice: "Look whether its disk is full or stalled; calls go on as soon as it can be written.")
  }
}

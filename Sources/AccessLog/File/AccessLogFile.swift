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
    /// None: the log is to be closed.
    let lines: [EventLine]
    let continuation: CheckedContinuation<Void, any Error>
    let expires: UInt64
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
  public let requiresPrincipal: Bool
  private let writing = DispatchQueue(label: "access-log")
  private let watching = DispatchQueue(label: "access-log-deadline")

  /// Makes the folder (0700) where there is none, and in it a new file (0600).
  ///
  /// - Throws: ``KMSError/Code/accessLogUnavailable``, ``KMSError/Code/configurationInvalid``.
  public convenience init(_ settings: AccessLogSettings) throws {
    try settings.validate()
    self.init(settings, try LineWriter(settings))
  }

  /// Writes to `descriptor` until that fails, then to files as usual. For tests.
  package convenience init(_ settings: AccessLogSettings, takingOwnershipOf descriptor: FileDescriptor) throws {
    try settings.validate()
    self.init(settings, LineWriter(settings, takingOwnershipOf: descriptor))
  }

  private init(_ settings: AccessLogSettings, _ writer: consuming LineWriter) {
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
    try? await enqueue([])  // without a line it can only be late, or closed already
    _ = writer.withLockIfAvailable { $0.close() }  // held by a stalled write: closed when the log goes
  }

  private enum Role { case write, wait, wake, refused }

  private func enqueue(_ lines: [EventLine]) async throws {
    waitBriefly()
    try await withCheckedThrowingContinuation { continuation in
      let waiter = Waiter(lines: lines, continuation: continuation, expires: monotonicNanoseconds() + deadline)
      let role = state.withLock { state -> Role in
        if state.isClosed { return .refused }
        state.isClosed = lines.isEmpty
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
      let result = writer.withLock { writer in
        Result { () throws(KMSError) in try writer.write(batch.flatMap(\.lines), now: start) }
      }
      let isSlow = monotonicNanoseconds() - start > Self.slow
      let waiting = state.withLock { state -> [Waiter] in
        state.isSlow = isSlow
        defer { state.inFlight = [] }
        return state.inFlight  // without those whose deadline has passed
      }
      for waiter in waiting { waiter.continuation.resume(with: result.mapError { $0 as any Error }) }
      if isSlow { break }
    }
    isBriefly.store(false, ordering: .relaxed)
    writing.async { self.drain() }
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
    for waiter in late { waiter.continuation.resume(throwing: error) }
  }
}

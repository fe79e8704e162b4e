internal import CLinux
internal import CP11Kit
package import KMSCore
internal import Synchronization

/// Calls that outlasted their deadline and have not ended yet, over all connections of a provider. Each holds a thread
/// and a session.
package final class HungCalls: Sendable {
  package static let limit = 8
  private let calls = Atomic(0)
  package init() {}

  package var count: Int { calls.load(ordering: .relaxed) }
  package func add() { calls.add(1, ordering: .relaxed) }
  package func remove() { calls.subtract(1, ordering: .relaxed) }

  /// - Throws: ``KMSError/Code/providerUnavailable`` when there are so many that no other thread is risked.
  package func check() throws {
    guard count >= Self.limit else { return }
    throw KMSError(
      .providerUnavailable, "\(count) calls hang in the token's module",
      advice: "Check the HSM's connection; restart this process if they do not end.")
  }
}

/// A call did not end within its deadline: nothing is known of the token.
package struct HungCall: Error { package let error: KMSError }

/// Sessions that are opened once and kept, each used by one caller at a time. Every call has a deadline.
///
/// Token writes, and opening and closing sessions, run alone: SoftHSM races otherwise.
package final class SessionPool: Watched {
  /// Deadline of a call; what it waits for a session counts.
  package let deadline: Duration
  let module: Module
  let state: Mutex<SessionPoolState>
  private let slot: UInt
  private let showsLogin: Bool
  let pace: Pace
  private let hung: HungCalls
  private let limitAge: Duration

  /// - Parameters:
  ///   - login: a session that is logged in. It is kept for that, as a login ends with the last session.
  ///   - limitAge: for how long a token that gave no more sessions is not asked for more.
  /// - Throws: ``KMSError/Code/providerUnavailable`` when nothing can look after its deadlines.
  package init(
    login: Session, token: Token, limit: Int, deadline: Duration, pace: Pace, hung: HungCalls,
    limitAge: Duration = .seconds(30)
  ) throws(KMSError) {
    module = login.module
    showsLogin = login.showsLogin
    slot = token.slot
    self.deadline = deadline
    self.pace = pace
    self.hung = hung
    self.limitAge = limitAge
    state = Mutex(SessionPoolState(login: login, limit: max(1, limit), pace: pace))
    try Watchdog.shared.watch(self, deadline: deadline)
  }

  /// Runs `body` beside other callers, each on a session of its own. Never in a forked child (``Module/checkProcess()``).
  ///
  /// - Parameter weight: how many short calls `body` is worth; a long one gets a thread of its own.
  /// - Throws: ``CallFailure``, ``HungCall``; ``KMSError/Code/deadlineExceeded`` when no session got free.
  package func withSession<R: Sendable & ~Copyable>(
    weight: Int = 1, _ body: @escaping @Sendable (Session) throws(CallFailure) -> R
  ) async throws -> R {
    let until = Moment.now + deadline
    if let session = takeSoon() { return try await run(session, until, weight, body) }
    try hung.check()
    while true {
      try await acquire(state.withLock { $0.wish }, until)
      if let session = state.withLock({ $0.takeGranted() }) {
        grant()
        return try await run(session, until, weight, body)
      }
      if let session = try await openMore(until) { return try await run(session, until, weight, body) }
    }
  }

  // 60 to 170 µs, as processors have it.
  private static let looks = linux_usable_processors() > 1 ? 160 : 1

  /// A session that nobody uses. Of a fast token another's call is waited for without sleeping: to be suspended and
  /// resumed takes longer.
  private func takeSoon() -> Session? {
    for _ in 0..<Self.looks {
      let (session, mayBeNext) = state.withLock { ($0.takeIdle(), $0.mayBeNext) }
      if let session { return session }
      guard mayBeNext, pace.isFast else { break }
      for _ in 0..<16 { linux_pause() }
    }
    return nil
  }

  /// Runs `body` while nothing else uses the token through this pool.
  package func alone<R: Sendable & ~Copyable>(
    _ body: @escaping @Sendable (Session) throws(CallFailure) -> R
  ) async throws -> R {
    try hung.check()
    let until = Moment.now + deadline
    try await acquire(.alone, until)
    defer { releaseAlone() }
    let session: Session
    if let idle = state.withLock({ $0.takeAlone() }) {
      session = idle
    } else {
      session = try await open(until)
    }
    state.withLock { $0.inUse += 1 }
    return try await run(session, until, 1, body)
  }

  /// From here on every session has this profile; calls that are under way end with theirs.
  package func use(_ profile: SessionKeyProfile) { state.withLock { $0.profile = profile } }

  /// Closes every session, once nobody uses them or the deadline has passed. A call that hangs keeps its own.
  package func close() async {
    state.withLock { $0.isClosed = true }
    guard module.isThisProcess else { return }
    let until = Moment.now + deadline
    let isAlone = (try? await acquire(.alone, until)) != nil
    await end(state.withLock { $0.takeAll() }, Moment.now + deadline)
    if isAlone { releaseAlone() }
  }

  /// Sessions that came back after it was closed. On a thread that may hang.
  deinit {
    let sessions = state.withLock { $0.takeAll() }
    guard module.isThisProcess, !sessions.isEmpty else { return }
    let rest = Sessions(sessions)
    do throws(KMSError) { try startThread { rest.end() } } catch { rest.end() }
  }

  /// Sessions end on a lane: closing one can hang as well. The last one to end holds the login.
  private func end(_ sessions: consuming [Session], _ until: Moment) async {
    guard !sessions.isEmpty else { return }
    let sessions = Sessions(sessions)
    do throws(KMSError) {
      let ended: Void? = try await makeLane().run(until: until, weight: .max) { sessions.end() }
      if ended == nil { hung.add() }
    } catch { sessions.end() }
  }

  private final class Sessions: @unchecked Sendable {  // used by one thread
    private var sessions: [Session]
    init(_ sessions: [Session]) { self.sessions = sessions }
    func end() { while sessions.popLast() != nil {} }
  }

  // MARK: Calls

  /// What comes of it is seen by the next call.
  func forgetCopies(of session: Session) async {
    _ = try? await run(session, .now + deadline, 1) { session throws(CallFailure) in session.forgetCopies() }
  }

  private func run<R: Sendable & ~Copyable>(
    _ session: Session, _ until: Moment, _ weight: Int, _ body: @escaping @Sendable (Session) throws(CallFailure) -> R
  ) async throws -> R {
    let passOn: Lane.PassOn = { self.passOn(session) }
    let result: Result<R, CallFailure>?
    do throws(KMSError) {
      result = try await session.lane!.run(until: until, weight: weight, passOn: passOn) {
        do throws(CallFailure) { return .success(try body(session)) } catch {
          if error.evictsSession { session.isSound = false }
          return .failure(error)
        }
      }
    } catch {
      release(session)
      throw error
    }
    guard let result else {
      abandon(session)
      throw HungCall(error: Self.tooLate(deadline))
    }
    return try result.get()
  }

  private func makeLane() throws(KMSError) -> Lane {
    let lane = Lane(pace: pace)
    let hung = hung
    lane.whenLateCallEnds = { hung.remove() }
    try Watchdog.shared.watch(lane, deadline: deadline)
    return lane
  }

  /// The thread that is stuck keeps the session, and ends it when it returns.
  private func abandon(_ session: Session) {
    hung.add()
    pace.stop()
    state.withLock { state in
      state.inUse -= 1
      state.openCount -= 1
    }
    grant()
  }

  /// No session got free in time.
  static func noSession(_ deadline: Duration) -> KMSError {
    KMSError(
      .deadlineExceeded, "no session of the token got free within \(deadline)",
      advice: "Raise max-sessions if the token has more, or let fewer tasks use it at once.")
  }

  package static func tooLate(_ deadline: Duration) -> KMSError {
    KMSError(
      .deadlineExceeded, "the token did not answer within \(deadline)",
      advice: "Check the HSM and its connection; its sessions are opened anew for the next call.")
  }

  // MARK: Sessions

  /// Called alone: opens one more session and goes on beside others. Nil when the token has no more of them.
  private func openMore(_ until: Moment) async throws -> Session? {
    guard state.withLock({ $0.isAlone }) else {
      releaseShared()
      return nil
    }
    do {
      let session = try await open(until)
      state.withLock { state in
        state.isAlone = false
        state.inUse = 1
      }
      grant()
      return session
    } catch let failure as CallFailure where !failure.returned.endsSession {
      // CKR_SESSION_COUNT, or another word for it: the pool is as large as the token says, for now.
      let hasOthers = state.withLock { state in
        state.stopAtThese(until: .now + limitAge)
        return state.openCount > 0
      }
      releaseAlone()
      guard hasOthers else { throw failure }
      return nil
    } catch {
      releaseAlone()
      throw error
    }
  }

  /// Called alone.
  private func open(_ until: Moment) async throws -> Session {
    try checkIsOpen()
    await end(state.withLock { $0.takeDoomed() }, until)
    let lane = try makeLane()
    let (module, slot, profile, showsLogin) = (module, slot, state.withLock { $0.profile }, showsLogin)
    let opened: Result<Session, CallFailure>? = try await lane.run(until: until) {
      do throws(CallFailure) {
        return .success(try Session(module: module, slot: slot, profile: profile, showsLogin: showsLogin))
      } catch { return .failure(error) }
    }
    guard let opened else {
      hung.add()
      pace.stop()
      throw HungCall(error: Self.tooLate(deadline))
    }
    let session = try opened.get()
    session.lane = lane
    state.withLock { $0.openCount += 1 }
    return session
  }

  private func checkIsOpen() throws {
    guard !state.withLock({ $0.isClosed }) else {
      throw CallFailure(function: "C_OpenSession", returned: ReturnValue(CKR_SESSION_CLOSED))
    }
  }
}

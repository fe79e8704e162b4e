internal import CP11Kit
package import KMSCore
internal import Synchronization

/// Sessions that are opened once and kept. Calls run on the task that asks, without a hop to another thread.
///
/// Token writes, and opening and closing sessions, run alone: SoftHSM races otherwise.
package final class SessionPool: Sendable {
  private enum Wish { case shared, alone }

  private struct State {
    var idle: [Session] = []
    /// Sessions that are open, the login's not counted.
    var open = 0
    var limit: Int
    var inUse = 0
    var isAlone = false
    var doomed: [Session] = []
    var waiting: [(wish: Wish, resume: CheckedContinuation<Void, Never>)] = []
    var isClosed = false
  }

  private let module: Module
  private let slot: UInt
  /// Holds the login: it ends with the last session.
  private let loginSession: Session
  private let state: Mutex<State>

  package init(module: Module, token: Token, limit: Int, pin: borrowing SecretBytes) throws(CallFailure) {
    self.module = module
    slot = token.slot
    loginSession = try Session(module: module, slot: token.slot)
    do throws(CallFailure) { try loginSession.login(pin: pin) } catch {
      loginSession.close()
      throw error
    }
    state = Mutex(State(limit: max(1, limit)))
  }

  /// Runs `body` beside other callers, each on a session of its own.
  package func withSession<R: ~Copyable>(
    _ body: (Session) throws(CallFailure) -> sending R
  ) async throws -> sending R {
    try module.checkProcess()
    if let session = state.withLock({ Self.takeIdle(&$0) }) { return try run(session, body) }
    while true {
      await acquire(state.withLock { $0.open < $0.limit } ? .alone : .shared)
      if let session = state.withLock({ Self.takeGranted(&$0) }) {
        grant()
        return try run(session, body)
      }
      if let session = try openMore() { return try run(session, body) }
    }
  }

  /// Runs `body` while nothing else uses the token through this pool. Fails when the pool was closed.
  package func alone<R: ~Copyable>(_ body: (Session) throws(CallFailure) -> sending R) async throws -> sending R {
    try module.checkProcess()
    await acquire(.alone)
    defer { releaseAlone() }
    let session = try aloneSession()
    defer { putBack(session) }
    return try marking(session, body)
  }

  /// A session that its token has lost is not used again.
  private func marking<R: ~Copyable>(
    _ session: Session, _ body: (Session) throws(CallFailure) -> sending R
  ) throws(CallFailure) -> sending R {
    do throws(CallFailure) { return try body(session) } catch {
      if error.returned.endsSession { session.isSound = false }
      throw error
    }
  }

  /// Called alone.
  private func aloneSession() throws -> Session {
    try checkIsOpen()
    if let idle = state.withLock({ $0.idle.popLast() }) { return idle }
    let session = try Session(module: module, slot: slot)
    state.withLock { $0.open += 1 }
    return session
  }

  private func putBack(_ session: Session) {
    state.withLock { state in
      if session.isSound {
        state.idle.append(session)
      } else {
        state.open -= 1
        state.doomed.append(session)
      }
    }
  }

  private func checkIsOpen() throws {
    guard !state.withLock({ $0.isClosed }) else {
      throw CallFailure(function: "C_OpenSession", returned: ReturnValue(CKR_SESSION_CLOSED))
    }
  }

  /// Closes every session. The caller makes sure that no call is under way.
  package func close() async {
    await acquire(.alone)
    let sessions = state.withLock { state in
      state.isClosed = true
      defer { state.idle = [] }
      return state.idle
    }
    for session in sessions { session.close() }
    loginSession.close()
    releaseAlone()
  }

  private static func takeIdle(_ state: inout State) -> Session? {
    guard !state.isAlone, state.waiting.isEmpty, let session = state.idle.popLast() else { return nil }
    state.inUse += 1
    return session
  }

  /// After a grant: shared ones find a session, unless it was lost meanwhile.
  private static func takeGranted(_ state: inout State) -> Session? {
    guard let session = state.idle.popLast() else { return nil }
    if state.isAlone {
      state.isAlone = false
      state.inUse = 1
    }
    return session
  }

  private func run<R: ~Copyable>(
    _ session: Session, _ body: (Session) throws(CallFailure) -> sending R
  ) throws(CallFailure) -> sending R {
    defer { release(session) }
    return try marking(session, body)
  }

  /// Called alone: opens one more session and goes on beside others. Nil when the token has no more of them.
  private func openMore() throws -> Session? {
    guard state.withLock({ $0.isAlone }) else {
      releaseShared()
      return nil
    }
    do {
      try checkIsOpen()
    } catch {
      releaseAlone()
      throw error
    }
    do throws(CallFailure) {
      let session = try Session(module: module, slot: slot)
      state.withLock { state in
        state.open += 1
        state.isAlone = false
        state.inUse = 1
      }
      grant()
      return session
    } catch {
      let hasOthers = state.withLock { state in
        // The pool is as large as the token says.
        if error.returned.rawValue == CKR_SESSION_COUNT { state.limit = max(1, state.open) }
        return state.open > 0
      }
      releaseAlone()
      guard error.returned.rawValue == CKR_SESSION_COUNT, hasOthers else { throw error.error }
      return nil
    }
  }

  private func acquire(_ wish: Wish) async {
    await withCheckedContinuation { continuation in
      state.withLock { $0.waiting.append((wish, continuation)) }
      grant()
    }
  }

  private func release(_ session: Session) {
    state.withLock { state in
      state.inUse -= 1
      if session.isSound {
        state.idle.append(session)
      } else {
        state.open -= 1
        state.doomed.append(session)
      }
    }
    grant()
  }

  private func releaseShared() {
    state.withLock { $0.inUse -= 1 }
    grant()
  }

  private func releaseAlone() {
    let doomed = state.withLock { state in
      defer { state.doomed = [] }
      return state.doomed
    }
    for session in doomed { session.close() }
    state.withLock { $0.isAlone = false }
    grant()
  }

  /// Lets those go on, in order, who can.
  private func grant() {
    while true {
      let next: CheckedContinuation<Void, Never>? = state.withLock { state in
        guard !state.isAlone, let first = state.waiting.first else { return nil }
        switch first.wish {
        case .alone:
          guard state.inUse == 0 else { return nil }
          state.isAlone = true
        case .shared:
          guard state.inUse < max(state.open, 1) else { return nil }
          state.inUse += 1
        }
        return state.waiting.removeFirst().resume
      }
      guard let next else { return }
      next.resume()
    }
  }
}

internal import KMSCore
internal import Synchronization

/// What a ``SessionPool`` knows of its sessions and of who waits for them.
struct SessionPoolState {
  enum Wish { case shared, alone }

  struct Waiting {
    let wish: Wish
    let until: Moment
    /// With false when the deadline passed.
    let resume: CheckedContinuation<Bool, Never>
  }

  /// Nil once it is closed.
  var login: Session?
  var limit: Int
  /// Sessions that are open and not abandoned, the login's not counted.
  var openCount = 0
  var idle: [Session] = []
  /// Not to be used again, and not ended yet.
  var doomed: [Session] = []
  var inUse = 0
  var isAlone = false
  var isClosed = false
  var waiting: [Waiting] = []

  init(login: Session, limit: Int) {
    self.login = login
    self.limit = limit
  }

  /// Beside others.
  mutating func takeIdle() -> Session? {
    guard !isAlone, waiting.isEmpty, let session = idle.popLast() else { return nil }
    inUse += 1
    return session
  }

  /// Whether the next session that gets free is for who comes now: in the queue nobody is before.
  var mayBeNext: Bool { openCount > 0 && !isAlone && waiting.isEmpty }

  /// Whether all are in use and the token may have more.
  var mayNeedMore: Bool { idle.isEmpty && openCount < limit }

  /// After a grant: shared ones find a session, unless it was lost meanwhile.
  ///
  /// - Parameter opensMore: whether who is alone is to open one more, though now, that nobody works, one is idle.
  mutating func takeGranted(opensMore: Bool) -> Session? {
    if isAlone, opensMore, openCount < limit { return nil }
    guard let session = idle.popLast() else { return nil }
    if isAlone {
      isAlone = false
      inUse = 1
    }
    return session
  }

  mutating func takeDoomed() -> [Session] {
    defer { doomed = [] }
    return doomed
  }

  /// The login's comes first.
  mutating func takeAll() -> [Session] {
    let sessions = (login.map { [$0] } ?? []) + idle + takeDoomed()
    openCount -= idle.count
    idle = []
    login = nil
    return sessions
  }

  mutating func putBack(_ session: Session) {
    inUse -= 1
    if session.isSound, !isClosed || isAlone {
      idle.append(session)
    } else {
      openCount -= 1
      doomed.append(session)
    }
  }

  /// Who can go on now.
  mutating func next() -> Waiting? {
    guard !isAlone, let first = waiting.first else { return nil }
    switch first.wish {
    case .alone:
      guard inUse == 0 else { return nil }
      isAlone = true
    case .shared:
      guard inUse < max(openCount, 1) else { return nil }
      inUse += 1
    }
    return waiting.removeFirst()
  }

  mutating func takeExpired(_ now: Moment) -> [Waiting] {
    let expired = waiting.filter { $0.until < now }
    if !expired.isEmpty { waiting.removeAll { $0.until < now } }
    return expired
  }
}

/// The queue before a pool: in order, some beside each other, some alone.
extension SessionPool {
  func acquire(_ wish: SessionPoolState.Wish, _ until: Moment) async throws {
    let isGranted = await withCheckedContinuation { continuation in
      state.withLock { $0.waiting.append(.init(wish: wish, until: until, resume: continuation)) }
      grant()
    }
    guard isGranted else { throw Self.noSession(deadline) }
  }

  func release(_ session: Session) {
    let isWaiting = state.withLock { state in
      state.putBack(session)
      return !state.waiting.isEmpty
    }
    if isWaiting { grant() }
  }

  func releaseShared() {
    state.withLock { $0.inUse -= 1 }
    grant()
  }

  func releaseAlone() {
    state.withLock { $0.isAlone = false }
    grant()
  }

  /// Lets those go on, in order, who can.
  func grant() {
    while let next = state.withLock({ $0.next() }) { next.resume.resume(returning: true) }
  }

  package func expire(_ now: Moment) {
    let late = state.withLock { $0.takeExpired(now) }
    for waiting in late { waiting.resume.resume(returning: false) }
    if !late.isEmpty { grant() }
  }
}

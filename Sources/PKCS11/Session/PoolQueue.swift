internal import KMSCore
internal import Synchronization

/// What a ``SessionPool`` knows of its sessions and of who waits for them.
struct SessionPoolState {
  enum Wish { case shared, alone }

  let pace: Pace
  /// Nil once it is closed.
  var login: Session?
  /// Of every session, those that are there already included.
  var profile: SessionKeyProfile { didSet { isProfileNew = true } }
  // As a rule it never is: then its references, which all callers share, need not be counted for each call.
  private var isProfileNew = false
  private let most: Int
  /// The token gave no more sessions, and is not asked for more until then.
  private var few: (limit: Int, until: Moment)?
  /// Sessions that are open and not abandoned, the login's not counted.
  var openCount = 0
  var idle: [Session] = []
  /// Not to be used again, and not ended yet.
  var doomed: [Session] = []
  var inUse = 0
  var isAlone = false
  var isClosed = false
  var waiting: [Waiter] = []

  init(login: Session?, limit: Int, pace: Pace) {
    self.pace = pace
    self.login = login
    profile = login?.profile ?? .full
    most = limit
  }

  var limit: Int { min(most, few?.limit ?? most) }

  mutating func stopAtThese(until: Moment) { few = (max(1, openCount), until) }

  /// How many may be in use at once. Calls of a fast token are made one after the other, also where there are more
  /// sessions from when it was slow: who waits then goes on without a change of threads.
  private var capacity: Int { pace.isFast ? min(openCount, 1) : openCount }

  /// Beside others. Those that are idle may have been granted.
  mutating func takeIdle() -> Session? {
    guard !isAlone, waiting.isEmpty, inUse < capacity, let session = idle.popLast() else { return nil }
    inUse += 1
    return handOver(session)
  }

  private func handOver(_ session: Session) -> Session {
    let session = session.taken()
    if isProfileNew, !session.profile.isSame(as: profile) { session.profile = profile }
    return session
  }

  /// One that nobody uses, nor waits for, with copies of KEKs that are to go.
  mutating func takeWithCopies(_ now: Moment) -> Session? {
    guard !isAlone, waiting.isEmpty, inUse < capacity,
      let index = idle.firstIndex(where: { $0.taken().copies.areIdle(now) })
    else { return nil }
    inUse += 1
    return handOver(idle.remove(at: index))
  }

  /// Whether the next session that gets free is for who comes now: in the queue nobody is before.
  var mayBeNext: Bool { openCount > 0 && !isAlone && waiting.isEmpty }

  /// What who comes now is to wait for: to be alone, where a session more is to be opened.
  var wish: Wish { (pace.isFast ? openCount == 0 : idle.isEmpty && openCount < limit) ? .alone : .shared }

  /// After a grant: shared ones find a session, unless it was lost meanwhile.
  ///
  /// Who is alone is to open one more of a slow token, though now, that nobody works, one is idle.
  mutating func takeGranted() -> Session? {
    if isAlone, !pace.isFast, openCount < limit { return nil }
    guard let session = idle.popLast() else { return nil }
    if isAlone {
      isAlone = false
      inUse = 1
    }
    return handOver(session)
  }

  /// For who is alone, and stays so.
  mutating func takeAlone() -> Session? { idle.popLast().map(handOver) }

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
    session.givenBack()
    inUse -= 1
    if session.isSound, !isClosed || isAlone {
      idle.append(session)
    } else {
      openCount -= 1
      doomed.append(session)
    }
  }

  mutating func join(_ waiter: Waiter, _ job: UnownedJob) {
    waiter.job = job
    waiting.append(waiter)
  }

  /// Who can go on now.
  mutating func next() -> UnownedJob? {
    guard !isAlone, let first = waiting.first else { return nil }
    switch first.wish {
    case .alone:
      guard inUse == 0 else { return nil }
      isAlone = true
    case .shared:
      guard inUse < max(capacity, 1) else { return nil }
      inUse += 1
    }
    first.isGranted = true
    return waiting.removeFirst().job.take()
  }

  mutating func takeExpired(_ now: Moment) -> [UnownedJob] {
    if let few, few.until < now { self.few = nil }
    guard waiting.contains(where: { $0.until < now }) else { return [] }
    let expired = waiting.filter { $0.until < now }
    waiting.removeAll { $0.until < now }
    return expired.compactMap { $0.job.take() }
  }
}

/// The queue before a pool: in order, some beside each other, some alone.
extension SessionPool {
  func acquire(_ wish: SessionPoolState.Wish, _ until: Moment) async throws {
    guard await Waiter.Gate(Waiter(wish, until, self)).pass() else { throw Self.noSession(deadline) }
  }

  func join(_ waiter: Waiter, _ job: UnownedJob) {
    let next = state.withLock { state in
      state.join(waiter, job)
      return state.next()
    }
    if let next { globalConcurrentExecutor.enqueue(next) }
  }

  /// By the thread that made a call of the session. Who is to use it next, and can go on there.
  func passOn(_ session: Session) -> UnownedJob? {
    let next = state.withLock { state in
      state.putBack(session)
      return state.next()
    }
    // More than one, where the token has just become slow.
    if next != nil, !pace.isFast { grant() }
    return next
  }

  func release(_ session: Session) {
    state.withLock { $0.putBack(session) }
    grant()
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
    while let next = state.withLock({ $0.next() }) { globalConcurrentExecutor.enqueue(next) }
  }

  package func expire(_ now: Moment) {
    let (late, session) = state.withLock { ($0.takeExpired(now), $0.takeWithCopies(now)) }
    for job in late { globalConcurrentExecutor.enqueue(job) }
    if !late.isEmpty { grant() }
    // Not here: a call can hang, and who is here looks after all that do.
    if let session { Task.detached { [self] in await forgetCopies(of: session) } }
  }
}

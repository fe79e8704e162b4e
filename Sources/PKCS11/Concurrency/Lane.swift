package import KMSCore
internal import Synchronization

/// Makes calls that block, one at a time, for tasks that wait for them; a task whose call outlasts its deadline is
/// let go, and the thread that is stuck in the call is left behind.
///
/// It is an executor: a task that hops to it is suspended before the call begins, so that anybody can let it go on.
/// The call is made either by the thread that asked, which has nothing else to do then, or by the lane's own thread.
/// So a fast token costs no change of threads, and has a deadline all the same.
package final class Lane: SerialExecutor, @unchecked Sendable {  // `state` is locked; the rest has one user at a time
  package typealias PassOn = @Sendable () -> UnownedJob?

  private struct State {
    /// The task that waits for the call.
    var waiting: UnownedJob?
    var until = Moment(nanoseconds: .max)
    /// Goes with who waits: a call that hangs must not keep what it holds.
    var passOn: PassOn?
    /// The deadline passed, and the call had not ended.
    var isLost = false
    /// The call was not begun.
    var refusal: KMSError?

    mutating func takeAll() -> (UnownedJob?, PassOn?) { (waiting.take(), passOn.take()) }
  }

  private let state = Mutex(State())
  private let pace: Pace
  private var call: (() -> Void)?
  private var weight: UInt64 = 1
  private var mayHoldThread = true
  private var ownThread: LaneThread?
  /// What is to be done when a call ends that nobody waits for any more.
  package var whenLateCallEnds: (@Sendable () -> Void)?

  package init(pace: Pace) { self.pace = pace }

  /// Whether calls are made by the thread that asks.
  var isFast: Bool { pace.isFast }

  deinit { ownThread?.stop() }

  /// Makes one call, or a chain of them.
  ///
  /// - Parameters:
  ///   - until: when the caller is let go.
  ///   - weight: how many short calls it is worth.
  ///   - passOn: what is to be done when the call has ended in time and the lane is free. Who is to go on at once, on
  ///     the thread that made the call, so that the next call need not wait for a change of threads.
  /// - Returns: nil when the deadline passed. The lane is then not to be used again.
  /// - Throws: ``KMSError/Code/providerUnavailable`` when there is no thread for the call. It was not made.
  package func run<Result: Sendable & ~Copyable>(
    until: Moment, weight: Int = 1, passOn: PassOn? = nil,
    _ body: @escaping @Sendable () -> Result
  ) async throws(KMSError) -> Result? {
    let answer = Answer<Result>()
    call = { answer.value = body() }
    self.weight = UInt64(max(1, weight))
    mayHoldThread = InPlace.mayHoldThread(of: #isolation)
    state.withLock { ($0.until, $0.passOn) = (until, passOn) }
    guard try await Gate(lane: self).pass() else { return nil }
    return answer.value.take()
  }

  /// By whoever made the call, then by the task that waited.
  private final class Answer<Value: ~Copyable>: @unchecked Sendable {  // one after the other
    var value: Value?
  }

  /// Being here is having made the call.
  private actor Gate {
    nonisolated let lane: Lane
    init(lane: Lane) { self.lane = lane }
    nonisolated var unownedExecutor: UnownedSerialExecutor {
      unsafe lane.asUnownedSerialExecutor()  // the lane outlives its gate
    }

    // Not inlined, and it reads memory: the hop must not be removed.
    @inline(never)
    func pass() throws(KMSError) -> Bool {
      let (isLost, refusal) = lane.state.withLock { ($0.isLost, $0.refusal.take()) }
      if let refusal { throw refusal }
      return !isLost
    }
  }

  package func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    stays {
      state.withLock { $0.waiting = job }
      if mayHoldThread, pace.isFast(weight), Seats.take() { return InPlace.run(self) }
      do throws(KMSError) {
        if ownThread == nil { ownThread = try LaneThread() }
        ownThread?.run(self)
      } catch { refuse(error) }
    }
  }

  /// Ends the waiting when the deadline has passed.
  package func expire(_ now: Moment) {
    let (job, _) = state.withLock { state -> (UnownedJob?, PassOn?) in
      guard state.waiting != nil, state.until < now else { return (nil, nil) }
      state.isLost = true
      return state.takeAll()
    }
    if let job { globalConcurrentExecutor.enqueue(job) }
  }

  private func refuse(_ error: KMSError) {
    call = nil
    let (job, _) = state.withLock { state in
      // Only where somebody waits: the next call is not refused for this one.
      if state.waiting != nil { state.refusal = error }
      return state.takeAll()
    }
    if let job { globalConcurrentExecutor.enqueue(job) } else { whenLateCallEnds?() }
  }

  /// On whatever thread: makes the call.
  /// - Returns: who is to go on, best first. Whoever waits for the call, unless nobody does any more, and the lane's next
  ///   user.
  private func makeCall() -> (first: UnownedJob?, second: UnownedJob?) {
    let start = Moment.now
    call.take()?()
    pace.took((Moment.now - start) / weight)
    let (waiting, passOn) = state.withLock { $0.takeAll() }
    guard let job = waiting else {
      whenLateCallEnds?()
      return (nil, nil)
    }
    // From here on the lane may be another's.
    guard let next = passOn?() else { return (job, nil) }
    return (next, job)
  }

  /// On the lane's own thread.
  fileprivate func makeCallForPool() {
    let (first, second) = makeCall()
    if let first { globalConcurrentExecutor.enqueue(first) }
    if let second { globalConcurrentExecutor.enqueue(second) }
  }
}

extension Lane: InPlaceWork {
  /// On the thread that asked, which holds a seat.
  package func work() -> UnownedJob? {
    defer { Seats.giveBack() }
    let (first, second) = pace.isInProcess ? makeCall() : withoutSIGPIPE { makeCall() }
    if let second { globalConcurrentExecutor.enqueue(second) }
    return first
  }
}

/// A lane's own thread: for slow tokens.
private final class LaneThread: Sendable {
  private let wake = Semaphore(0)
  private let lane = Mutex<Lane?>(nil)

  init() throws(KMSError) {
    try startThread { [self] in
      while true {
        wake.wait()
        guard let lane = lane.withLock({ $0.take() }) else { return }
        lane.makeCallForPool()
      }
    }
  }

  func run(_ next: Lane) {
    lane.withLock { $0 = next }
    wake.signal()
  }

  func stop() { wake.signal() }
}

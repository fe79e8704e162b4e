internal import KMSCore
internal import PKCS11
internal import Synchronization

/// A token that is being opened, for all whose calls wait for it: each of them no longer than a call may take. It takes
/// several steps, of several tokens perhaps, each with a deadline of its own.
final class Opening: Watched {
  private struct Waiting {
    var until: Moment
    let resume: CheckedContinuation<Connection, any Error>
  }
  private struct State {
    var result: Result<Connection, any Error>?
    var waiting: [Waiting] = []
    /// The PIN's, while it is asked.
    var source: SecretSource?
  }
  private let state = Mutex(State())
  private let deadline: Duration

  init(deadline: Duration) throws(KMSError) {
    self.deadline = deadline
    try Watchdog.shared.watch(self, deadline: deadline)
  }

  /// - Throws: what kept it from being opened; ``KMSError/Code/deadlineExceeded``, and it goes on without the caller.
  func connection() async throws -> Connection {
    try await withCheckedThrowingContinuation { continuation in
      let until = Moment.now + deadline
      let result = state.withLock { state in
        if state.result == nil { state.waiting.append(Waiting(until: until, resume: continuation)) }
        return state.result
      }
      if let result { continuation.resume(with: result) }
    }
  }

  func end(_ result: Result<Connection, any Error>) {
    let waiting = state.withLock { state in
      state.result = result
      defer { state.waiting = [] }
      return state.waiting
    }
    for one in waiting { one.resume.resume(with: result) }
  }

  /// The time that a person takes to give the PIN counts for nobody.
  func asking<R: Sendable>(_ source: SecretSource, _ body: () async throws -> R) async rethrows -> R {
    state.withLock { $0.source = source }
    defer {
      let until = Moment.now + deadline
      state.withLock { state in
        state.source = nil
        guard source.mayAskAPerson else { return }
        for index in state.waiting.indices { state.waiting[index].until = until }
      }
    }
    return try await body()
  }

  func expire(_ now: Moment) {
    let (late, source) = state.withLock { state -> ([Waiting], SecretSource?) in
      guard state.source?.mayAskAPerson != true else { return ([], nil) }
      let late = state.waiting.filter { $0.until < now }
      if !late.isEmpty { state.waiting.removeAll { $0.until < now } }
      return (late, state.source)
    }
    let error = source.map(PINReader.hangs) ?? SessionPool.tooLate(deadline)
    for one in late { one.resume.resume(throwing: error) }
  }
}

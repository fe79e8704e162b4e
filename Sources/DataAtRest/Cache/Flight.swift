internal import Synchronization

/// A result that is on its way, and those who wait for it. Whoever is cancelled stops waiting, and nobody else.
final class Flight<Value: Sendable>: Sendable {
  private struct State {
    var result: Result<Value, any Error>?
    var waiting: [Int: CheckedContinuation<Value, any Error>] = [:]
    var cancelled: Set<Int> = []
    var next = 0
  }

  private let state = Mutex(State())

  /// Gives the result to all who wait, and to all who come.
  func land(_ result: Result<Value, any Error>) {
    let waiting = state.withLock { state in
      defer { state.waiting = [:] }
      state.result = result
      return state.waiting
    }
    for continuation in waiting.values { continuation.resume(with: result) }
  }

  /// - Throws: `CancellationError` as soon as the task is cancelled; what the work threw.
  func value() async throws -> Value {
    let ticket = state.withLock { state in
      state.next += 1
      return state.next
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let result = state.withLock { state -> Result<Value, any Error>? in
          if state.cancelled.remove(ticket) != nil { return .failure(CancellationError()) }
          if state.result == nil { state.waiting[ticket] = continuation }
          return state.result
        }
        if let result { continuation.resume(with: result) }
      }
    } onCancel: {
      let continuation = state.withLock { state in
        let continuation = state.waiting.removeValue(forKey: ticket)
        if continuation == nil, state.result == nil { state.cancelled.insert(ticket) }
        return continuation
      }
      continuation?.resume(throwing: CancellationError())
    }
  }
}

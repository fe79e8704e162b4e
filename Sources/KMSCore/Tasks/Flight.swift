internal import Synchronization

/// A result that is on its way, and those who wait for it. Whoever is cancelled stops waiting, and nobody else.
package final class Flight<Value: Sendable>: Sendable {
  private struct State {
    var result: Result<Value, any Error>?
    var waiting: [Int: CheckedContinuation<Value, any Error>] = [:]
    var cancelled: Set<Int> = []
    var next = 0
  }

  private let state = Mutex(State())

  package init() {}

  /// Gives the result to all who wait, and to all who come.
  package func land(_ result: Result<Value, any Error>) {
    let waiting = state.withLock { state in
      defer { state.waiting = [:] }
      state.result = result
      return state.waiting
    }
    for continuation in waiting.values { continuation.resume(with: result) }
  }

  /// - Throws: `CancellationError` as soon as the task is cancelled; what the work threw.
  package func value() async throws -> Value {
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

/// Work that is done once for all who ask while it is under way.
package final class SharedWork<Value: Sendable>: Sendable {
  private let current = Mutex<(flight: Flight<Value>, generation: Int)?>(nil)

  package init() {}

  /// What the work gives. Nobody's cancellation stops it.
  ///
  /// - Parameter generation: work that was begun in another is not waited for.
  package func run(generation: Int, _ work: @escaping @Sendable () async throws -> Value) async throws -> Value {
    let flight = Flight<Value>()
    let other = current.withLock { current in
      if let current, current.generation == generation { return Flight?.some(current.flight) }
      current = (flight, generation)
      return nil
    }
    if let other { return try await other.value() }
    Task {
      let result: Result<Value, any Error>
      do { result = .success(try await work()) } catch { result = .failure(error) }
      current.withLock { current in if current?.flight === flight { current = nil } }
      flight.land(result)
    }
    return try await flight.value()
  }
}

internal import Dispatch
internal import KMSCore
internal import Synchronization

/// Runs blocking file work on a thread of its own, off the cooperative pool, and passes cancellation on.
func fileJob<Value: Sendable>(
  _ body: @escaping @Sendable (_ checkCancellation: @escaping @Sendable () throws -> Void) throws -> Value
) async throws -> Value {
  let cancelled = Flag()
  return try await withTaskCancellationHandler {
    try await withCheckedThrowingContinuation { continuation in
      DispatchQueue.global().async {
        continuation.resume(
          with: Result {
            try body { if cancelled.isSet { throw CancellationError() } }
          })
      }
    }
  } onCancel: {
    cancelled.set()
  }
}

private final class Flag: Sendable {
  private let value = Atomic(false)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func set() { value.store(true, ordering: .relaxed) }
}

/// Lets a closure that escapes hold a value that cannot be copied.
final class Held<Value: ~Copyable & Sendable>: Sendable {
  let value: Value
  init(_ value: consuming Value) { self.value = value }
}

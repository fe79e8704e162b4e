public import KMSCore
internal import Synchronization
internal import Tracing

/// A span for every provider call, made when the call is in the log: a child of the span of the data operation that
/// made the call. With no tracer bootstrapped it does nothing.
public struct TracingObserver: AccessObserver {
  private let watch = TracerWatch()

  /// Spans go to the `InstrumentationSystem`'s tracer.
  public init() {}

  /// Makes the span, with the call's own begin and end.
  public func took(_ event: AccessEvent, afterNanoseconds waited: UInt64) {
    // Data operations have live spans: see `traced`.
    guard event.phase == .outcome, event.provider != nil, !event.operation.isDataUse else { return }
    guard watch.mayTrace(at: monotonicNanoseconds()) else { return }
    let span = startSpan(
      "strongroom \(event.operation)", ofKind: .client,
      at: Instant(event.timestamp.advanced(by: .zero - event.duration)))
    span.describe(event)
    span.end(at: Instant(event.timestamp))
  }

  private struct Instant: TracerInstant {
    let nanosecondsSinceEpoch: UInt64
    init(_ time: Timestamp) { nanosecondsSinceEpoch = UInt64(max(0, time.nanoseconds)) }
    static func < (a: Self, b: Self) -> Bool { a.nanosecondsSinceEpoch < b.nanosecondsSinceEpoch }
  }
}

/// Whether there is a tracer. Asked of the `InstrumentationSystem` once a second until there is: asking costs as much as
/// a part of a field's cipher.
package final class TracerWatch: Sendable {
  private let asked = Atomic<UInt64>(0)

  package init() {}

  /// - Parameter now: as `bootNanoseconds` has it.
  package func mayTrace(at now: UInt64) -> Bool {
    guard now >= asked.load(ordering: .relaxed) &+ 1_000_000_000 else { return false }
    guard InstrumentationSystem.tracer is NoOpTracer else { return true }
    asked.store(now, ordering: .relaxed)
    return false
  }
}

/// Runs one operation of the manager inside a span, if there is a tracer.
///
/// - Parameter body: fills in the event, from which the span gets its attributes, also when it throws.
package func traced<Result>(
  _ event: inout AccessEvent, _ body: (inout AccessEvent) async throws -> Result
) async throws -> Result {
  guard !(InstrumentationSystem.tracer is NoOpTracer) else { return try await body(&event) }
  // No error leaves the span as one: it would be recorded with its message.
  let outcome: Swift.Result<Result, any Error> = await withSpan(
    "strongroom \(event.operation)", ofKind: .internal
  ) { span in
    defer { span.describe(event) }
    do { return .success(try await body(&event)) } catch {
      event.errorCode = (error as? KMSError)?.code ?? .init(rawValue: "cancelled")
      return .failure(error)
    }
  }
  return try outcome.get()
}

extension Tracing.Span {
  /// Names only: no key material, no values of contexts, no message of an error.
  fileprivate func describe(_ event: AccessEvent) {
    updateAttributes { attributes in
      attributes["strongroom.operation"] = event.operation.rawValue
      attributes["strongroom.key"] = event.key?.description
      attributes["strongroom.key_version"] = event.version?.description
      attributes["strongroom.provider"] = event.provider
      attributes["strongroom.principal"] = event.access.principal
      attributes["strongroom.cached"] = event.cached
      attributes["error.type"] = event.errorCode?.rawValue
    }
    if event.errorCode != nil { setStatus(SpanStatus(code: .error)) }
  }
}

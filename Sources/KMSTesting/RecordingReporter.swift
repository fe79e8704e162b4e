public import KMSCore
internal import Synchronization

/// Keeps every event, for tests of what is logged. Can be told to fail.
public final class RecordingReporter: AccessReporter {
  private struct State {
    var events: [AccessEvent] = []
    var failsFrom: Int?
  }
  private let state = Mutex(State())

  /// Takes every event until ``fail(from:)``.
  public init() {}

  /// In the order in which they were reported.
  public var events: [AccessEvent] { state.withLock { $0.events } }

  /// From the event with this number on (0 is the first), every report fails; nil ends that.
  public func fail(from number: Int?) { state.withLock { $0.failsFrom = number } }

  /// - Throws: ``KMSError/Code/accessLogUnavailable`` when it was told to fail.
  public func report(_ event: AccessEvent) async throws {
    try state.withLock { state throws(any Error) in
      if let from = state.failsFrom, state.events.count >= from {
        throw KMSError(.accessLogUnavailable, "the recording reporter was told to fail")
      }
      state.events.append(event)
    }
  }
}

public import KMSCore
import Synchronization

/// Sums up data operations that went well: one record a second for each key, version, principal and operation.
///
/// Everything else, and every failure, goes on as it is. The counts of the last second are lost when the process is
/// killed; while the log takes no sums, data operations fail as they would without.
public final class SummarisingReporter: AccessReporter {
  private struct Group: Hashable {
    let operation: AccessEvent.Operation
    let key: KeyName?
    let version: KeyVersionID?
    let provider: String?
    let principal: String?
    let contextNames: [String]
    let cached: Bool
  }

  private struct Sum {
    var count = 0
    var duration = Duration.zero
    var last: AccessEvent
  }

  private struct State {
    var sums: [Group: Sum] = [:]
    var isTimed = false
    var failure: KMSError?
  }

  private let base: any AccessReporter
  private let interval: Duration
  private let state = Mutex(State())
  // More than these are written at once: what is held stays small.
  private static let mostGroups = 1000

  /// - Parameters:
  ///   - base: takes the sums, and all that is not summed up.
  ///   - interval: how long is summed up.
  public init(_ base: any AccessReporter, interval: Duration = .seconds(1)) {
    self.base = base
    self.interval = interval
  }

  /// As the log behind it does.
  public var requiresPrincipal: Bool { base.requiresPrincipal }

  public func report(_ event: AccessEvent) async throws {
    guard event.success, event.phase == .outcome, event.operation == .encrypt || event.operation == .decrypt else {
      return try await base.report(event)
    }
    let (failed, isFull, mustTime) = state.withLock { state in
      let group = Group(
        operation: event.operation, key: event.key, version: event.version, provider: event.provider,
        principal: event.access.principal, contextNames: event.access.contextNames, cached: event.cached)
      var sum = state.sums[group] ?? Sum(last: event)
      sum.count += 1
      sum.duration += event.duration
      sum.last = event
      state.sums[group] = sum
      defer { state.isTimed = true }
      return (state.failure != nil, state.sums.count >= Self.mostGroups, !state.isTimed)
    }
    if failed || isFull { try await write() }
    if mustTime {
      Task { [weak self, interval] in
        try? await Task.sleep(for: interval)
        try? await self?.write()
      }
    }
  }

  public func report(_ events: [AccessEvent]) async throws { try await base.report(events) }

  /// Writes what was summed up, then seals.
  public func seal() async {
    try? await write()
    await base.seal()
  }

  private func write() async throws {
    let sums = state.withLock { state in
      defer { (state.sums, state.isTimed) = ([:], false) }
      return state.sums
    }
    let events = sums.values.map { sum in
      var event = sum.last
      (event.access.requestID, event.access.traceID) = (nil, nil)
      event.duration = sum.duration / sum.count
      event.count = sum.count
      return event
    }
    guard !events.isEmpty else { return }
    do {
      try await base.report(events)
      state.withLock { $0.failure = nil }
    } catch {
      let failure = error as? KMSError ?? KMSError(.accessLogUnavailable, "the access log took no sums")
      state.withLock { state in
        state.failure = failure
        // Not lost: the next one that is asked for writes them.
        for (group, sum) in sums {
          var both = state.sums[group] ?? Sum(last: sum.last)
          both.count += sum.count
          both.duration += sum.duration
          state.sums[group] = both
        }
      }
      throw failure
    }
  }
}

public import KMSCore
internal import Synchronization

/// Sums up data operations that went well: one record a second for each key, version, principal and operation.
///
/// Everything else, and every failure, goes on as it is. The counts of the last second are lost when the process is
/// killed; while the log takes no sums, data operations fail as they would without.
public final class SummarisingReporter: AccessReporter {
  private let base: any AccessReporter
  private let interval: Duration
  /// What has been summed up.
  package let counts = OperationCounts()
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
    let isFull = counts.add(event) >= Self.mostGroups
    if isFull || counts.hasFailed.load(ordering: .relaxed) { try await write() }
    if !counts.isTimed.load(ordering: .acquiring), !counts.isTimed.exchange(true, ordering: .acquiringAndReleasing) {
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
    // First: whoever comes after the sums are taken begins another second.
    counts.isTimed.store(false, ordering: .releasing)
    let taken = counts.take()
    guard !taken.all.isEmpty else { return }
    let now = Timestamp.now()
    do {
      try await base.report(taken.all.map { $0.summary(at: now) })
      counts.hasFailed.store(false, ordering: .relaxed)
    } catch {
      counts.hasFailed.store(true, ordering: .relaxed)
      // Not lost: the next one that is asked for writes them.
      counts.putBack(taken)
      throw error as? KMSError ?? KMSError(.accessLogUnavailable, "the access log took no sums")
    }
  }
}

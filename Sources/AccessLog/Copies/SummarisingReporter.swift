internal import CryptoPrimitives
public import KMSCore
import Synchronization

/// Sums up data operations that went well: one record a second for each key, version, principal and operation.
///
/// Everything else, and every failure, goes on as it is. The counts of the last second are lost when the process is
/// killed; while the log takes no sums, data operations fail as they would without.
public final class SummarisingReporter: AccessReporter, OperationCounter {
  private let base: any AccessReporter
  private let interval: Duration
  private let sums = Striped { OperationSums() }
  private let isTimed = Atomic(false)
  private let hasFailed = Atomic(false)
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
    let isFull = sums.withLock { sums in
      sums.add(event)
      return sums.all.count >= Self.mostGroups
    }
    if isFull || hasFailed.load(ordering: .relaxed) { try await write() }
    if !isTimed.load(ordering: .acquiring), !isTimed.exchange(true, ordering: .acquiringAndReleasing) {
      Task { [weak self, interval] in
        try? await Task.sleep(for: interval)
        try? await self?.write()
      }
    }
  }

  /// Counts an operation that went well and met no provider, where nothing has to be waited for.
  package func count(
    _ operation: AccessEvent.Operation, under version: KeyVersion, _ access: Access, nanoseconds: UInt64
  ) -> Bool {
    guard isTimed.load(ordering: .acquiring), !hasFailed.load(ordering: .relaxed) else { return false }
    return sums.withLock { sums in sums.count(operation, under: version, access, nanoseconds: nanoseconds) }
  }

  public func report(_ events: [AccessEvent]) async throws { try await base.report(events) }

  /// Writes what was summed up, then seals.
  public func seal() async {
    try? await write()
    await base.seal()
  }

  private func write() async throws {
    // First: whoever comes after the sums are taken begins another second.
    isTimed.store(false, ordering: .releasing)
    var taken = OperationSums()
    sums.withEachLock { sums in
      taken.add(sums)
      sums = OperationSums()
    }
    guard !taken.all.isEmpty else { return }
    let now = Timestamp.now()
    do {
      try await base.report(taken.all.map { $0.summary(at: now) })
      hasFailed.store(false, ordering: .relaxed)
    } catch {
      hasFailed.store(true, ordering: .relaxed)
      // Not lost: the next one that is asked for writes them.
      sums.withLock { [taken] in $0.add(taken) }
      throw error as? KMSError ?? KMSError(.accessLogUnavailable, "the access log took no sums")
    }
  }
}

/// Data operations by what they have in common.
struct OperationSums: Sendable {
  struct Sum: Sendable {
    /// The first of them.
    fileprivate var event: AccessEvent
    fileprivate var count = 0
    fileprivate var nanoseconds: UInt64 = 0
    fileprivate var contexts = ContextTags()

    fileprivate mutating func add(_ other: AccessEvent) {
      let operations = other.count ?? 1
      count += operations
      nanoseconds &+= other.duration.nanoseconds &* UInt64(operations)
      contexts += other.contexts
      if let tag = other.access.contextTag { contexts.add(tag) }
    }

    /// As a record of the log.
    func summary(at timestamp: Timestamp) -> AccessEvent {
      var event = event
      (event.access.requestID, event.access.traceID) = (nil, nil)
      event.timestamp = timestamp
      event.duration = .nanoseconds(Int64(clamping: nanoseconds / UInt64(max(1, count))))
      event.count = count
      event.contexts = contexts
      return event
    }
  }

  private struct Group: Hashable {
    let operation: AccessEvent.Operation
    let key: KeyName?
    let version: KeyVersionID?
    let provider: String?
    let principal: String?
    let contextNames: [String]
    let cached: Bool

    init(_ event: AccessEvent) {
      (operation, key, version, provider) = (event.operation, event.key, event.version, event.provider)
      (principal, contextNames, cached) = (event.access.principal, event.access.contextNames, event.cached)
    }
  }

  private(set) var all: [Sum] = []
  private var index: [Group: Int] = [:]
  private var recent = 0

  mutating func add(_ event: AccessEvent) { all[sum(for: event)].add(event) }

  // More are looked up by their hash, for which an event is needed.
  private static let fewGroups = 16

  /// One more like one of the first few; false when there is none.
  mutating func count(
    _ operation: AccessEvent.Operation, under version: KeyVersion, _ access: Access, nanoseconds: UInt64
  ) -> Bool {
    if recent >= all.count || !all[recent].event.isLike(operation, version, access) {
      guard let i = all.prefix(Self.fewGroups).firstIndex(where: { $0.event.isLike(operation, version, access) })
      else { return false }
      recent = i
    }
    all[recent].count += 1
    all[recent].nanoseconds &+= nanoseconds
    if let tag = access.contextTag { all[recent].contexts.add(tag) }
    return true
  }

  mutating func add(_ others: OperationSums) {
    for other in others.all {
      let i = sum(for: other.event)
      all[i].count += other.count
      all[i].nanoseconds &+= other.nanoseconds
      all[i].contexts += other.contexts
    }
  }

  private mutating func sum(for event: AccessEvent) -> Int {
    // Most often like the one before, and then nothing need be hashed.
    if recent < all.count, all[recent].event.isLike(event) { return recent }
    let group = Group(event)
    if let known = index[group] {
      recent = known
    } else {
      recent = all.count
      index[group] = recent
      all.append(Sum(event: event))
    }
    return recent
  }
}

extension AccessEvent {
  fileprivate func isLike(_ other: borrowing AccessEvent) -> Bool {
    operation == other.operation && cached == other.cached && version == other.version && key == other.key
      && provider == other.provider && access.principal == other.access.principal
      && access.contextNames == other.access.contextNames
  }

  /// Whether it is a cached one under this version, for the same principal.
  fileprivate func isLike(_ operation: AccessEvent.Operation, _ version: KeyVersion, _ access: Access) -> Bool {
    cached && self.operation == operation && self.version == version.id && key == version.key
      && provider == version.provider && self.access.principal == access.principal
      && self.access.contextNames == access.contextNames
  }
}

/// Counts data operations at once, where it can: a way round the event for what costs less than an event.
package protocol OperationCounter: Sendable {
  /// False where the event has to be reported.
  func count(
    _ operation: AccessEvent.Operation, under version: KeyVersion, _ access: Access, nanoseconds: UInt64
  ) -> Bool
}

extension Duration {
  /// As a whole number; none below zero.
  fileprivate var nanoseconds: UInt64 {
    UInt64(max(0, components.seconds)) * 1_000_000_000 + UInt64(max(0, components.attoseconds) / 1_000_000_000)
  }
}

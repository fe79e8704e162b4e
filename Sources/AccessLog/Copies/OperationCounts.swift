internal import CryptoPrimitives
package import KMSCore
internal import Synchronization

/// What a ``SummarisingReporter`` has summed up, with a way round the event for what costs less than an event.
///
/// Apart, as the reporter's own timer knows it weakly, and each count of a reference to what is known weakly takes longer.
package final class OperationCounts: Sendable {
  private let sums = Striped { OperationSums() }
  /// Whether the sums will be written before long.
  let isTimed = Atomic(false)
  /// Whether the log took no sums when it was asked last.
  let hasFailed = Atomic(false)

  /// Counts an operation that went well, was done under a key at hand and met no provider, where nothing has to be waited
  /// for. False where the event has to be reported.
  package func count(
    _ operation: AccessEvent.Operation, under version: KeyVersion, _ work: QuickWork, nanoseconds: UInt64
  ) -> Bool {
    guard isTimed.load(ordering: .acquiring), !hasFailed.load(ordering: .relaxed) else { return false }
    return sums.withLock { sums in sums.count(operation, under: version, work, nanoseconds: nanoseconds) }
  }

  /// How many groups there are then.
  func add(_ event: AccessEvent) -> Int {
    sums.withLock { sums in
      sums.add(event)
      return sums.all.count
    }
  }

  func take() -> OperationSums {
    var taken = OperationSums()
    sums.withEachLock { sums in
      taken.add(sums)
      sums = OperationSums()
    }
    return taken
  }

  func putBack(_ taken: OperationSums) { sums.withLock { $0.add(taken) } }
}

/// As much of an ``Access`` as is summed up.
package struct QuickWork {
  package let principal: String?
  let contextNames: [String]
  let contextTag: UInt64?

  package init(principal: String?, contextNames: [String], contextTag: UInt64? = nil) {
    (self.principal, self.contextNames, self.contextTag) = (principal, contextNames, contextTag)
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
      nanoseconds &+= other.duration.wholeNanoseconds &* UInt64(operations)
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
    _ operation: AccessEvent.Operation, under version: KeyVersion, _ work: QuickWork, nanoseconds: UInt64
  ) -> Bool {
    if recent >= all.count || !all[recent].event.isLike(operation, version, work) {
      guard let i = all.prefix(Self.fewGroups).firstIndex(where: { $0.event.isLike(operation, version, work) })
      else { return false }
      recent = i
    }
    all[recent].count += 1
    all[recent].nanoseconds &+= nanoseconds
    if let tag = work.contextTag { all[recent].contexts.add(tag) }
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
  fileprivate func isLike(_ operation: AccessEvent.Operation, _ version: KeyVersion, _ work: QuickWork) -> Bool {
    cached && self.operation == operation && self.version == version.id && key == version.key
      && provider == version.provider && access.principal == work.principal
      && access.contextNames == work.contextNames
  }
}

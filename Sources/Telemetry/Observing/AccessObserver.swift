internal import AccessLog
public import KMSCore

/// Looks at events after the access log took them: metrics, traces, alerts. It has no say in whether a call succeeds,
/// and must not block.
public protocol AccessObserver: Sendable {
  /// The log took the event, after so many nanoseconds.
  func took(_ event: AccessEvent, afterNanoseconds waited: UInt64)

  /// The log did not take the event; its call failed for that.
  func refused(_ event: AccessEvent)

  /// Asks nobody any more whose answer would be logged. Called before the log is sealed; returns when nothing is on its
  /// way.
  func stop() async

  /// Brings on its way what it holds. Called when the log is sealed.
  func flush() async
}

extension AccessObserver {
  /// Nothing to do.
  public func refused(_ event: AccessEvent) {}
  /// Nothing to do.
  public func stop() async {}
  /// Nothing to do.
  public func flush() async {}
}

/// A reporter whose events are shown to observers once the log took them.
public struct ObservedReporter: AccessReporter {
  private let base: any AccessReporter
  private let observers: [any AccessObserver]

  /// - Parameters:
  ///   - base: the access log.
  ///   - observers: told in this order.
  public init(_ base: any AccessReporter, observers: [any AccessObserver]) {
    self.base = base
    self.observers = observers
  }

  /// The log's answer; observers cannot change it.
  public func report(_ event: AccessEvent) async throws {
    let start = monotonicNanoseconds()
    do { try await base.report(event) } catch {
      for observer in observers { observer.refused(event) }
      throw error
    }
    let waited = monotonicNanoseconds() - start
    for observer in observers { observer.took(event, afterNanoseconds: waited) }
  }

  /// The same for events that belong together.
  public func report(_ events: [AccessEvent]) async throws {
    let start = monotonicNanoseconds()
    do { try await base.report(events) } catch {
      for event in events { for observer in observers { observer.refused(event) } }
      throw error
    }
    let waited = monotonicNanoseconds() - start
    for event in events { for observer in observers { observer.took(event, afterNanoseconds: waited) } }
  }

  /// The log's answer.
  public var requiresPrincipal: Bool { base.requiresPrincipal }

  /// Stops the observers, seals the log, then flushes them.
  public func seal() async {
    for observer in observers { await observer.stop() }
    await base.seal()
    for observer in observers { await observer.flush() }
  }
}

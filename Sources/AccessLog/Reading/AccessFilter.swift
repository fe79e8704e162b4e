public import KMSCore

/// Which records are wanted; what is nil does not restrict.
public struct AccessFilter: Sendable, Hashable {
  /// How an operation ended.
  public enum Outcome: String, Sendable, Hashable, CaseIterable { case success, failure }

  /// Name of the key.
  public var key: String?
  /// Only this principal.
  public var principal: String?
  /// Only this operation.
  public var operation: AccessEvent.Operation?
  /// Intents have no outcome, and fall out when one is asked for.
  public var outcome: Outcome?
  /// From this moment on.
  public var since: Timestamp?
  /// Before this moment.
  public var until: Timestamp?

  /// Nil leaves a property open.
  public init(
    key: String? = nil, principal: String? = nil, operation: AccessEvent.Operation? = nil, outcome: Outcome? = nil,
    since: Timestamp? = nil, until: Timestamp? = nil
  ) {
    self.key = key
    self.principal = principal
    self.operation = operation
    self.outcome = outcome
    self.since = since
    self.until = until
  }

  /// Whether a record passes.
  public func matches(_ record: AccessRecord) -> Bool {
    (key == nil || record.keyID == key)
      && (principal == nil || record.accessedBy == principal)
      && (operation == nil || record.operation == operation)
      && (outcome == nil || record.success == (outcome == .success))
      && since.map { record.timestamp >= $0 } != false
      && until.map { record.timestamp < $0 } != false
  }
}

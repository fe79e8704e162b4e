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
  /// Only what is not daily use of keys: made, taken in, rotated, another state, census, recovery, configuration.
  public var isChange = false
  /// Also what the log says of itself: heartbeats, files begun, checkpoints.
  public var includesOwn = false
  /// Intents have no outcome, and fall out when one is asked for.
  public var outcome: Outcome?
  /// From this moment on.
  public var since: Timestamp?
  /// Before this moment.
  public var until: Timestamp?

  /// Nil leaves a property open.
  public init(
    key: String? = nil, principal: String? = nil, operation: AccessEvent.Operation? = nil, isChange: Bool = false,
    includesOwn: Bool = false, outcome: Outcome? = nil, since: Timestamp? = nil, until: Timestamp? = nil
  ) {
    self.key = key
    self.principal = principal
    self.operation = operation
    self.isChange = isChange
    self.includesOwn = includesOwn
    self.outcome = outcome
    self.since = since
    self.until = until
  }

  /// Whether a record passes.
  public func matches(_ record: AccessRecord) -> Bool {
    (includesOwn || !record.type.isOwn)
      && (key == nil || record.keyID == key)
      && (principal == nil || record.accessedBy == principal)
      && (operation == nil || record.operation == operation)
      && (!isChange || !record.operation.isDailyUse)
      && (outcome == nil || record.success == (outcome == .success))
      && since.map { record.timestamp >= $0 } != false
      && until.map { record.timestamp < $0 } != false
  }
}

extension AccessEvent.Operation {
  private static let dailyUse: Set<Self> = [
    .wrap, .unwrap, .rewrap, .listVersions, .directEncrypt, .directDecrypt, .sign, .health, .close, .encrypt, .decrypt,
    Self(rawValue: "list-adoptable"), Self(rawValue: "reencrypt"),
  ]

  /// What happens to data and not to keys. An operation that is not known here is not taken for one.
  public var isDailyUse: Bool { Self.dailyUse.contains(self) }
}

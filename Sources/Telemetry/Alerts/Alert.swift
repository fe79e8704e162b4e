public import KMSCore

/// Something that a person should look at.
public struct Alert: Sendable, Hashable {
  /// Which rule found it; an open set.
  public struct Rule: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public var description: String { rawValue }

    /// Many encrypts or decrypts of a key fail.
    public static let failedOperations = Self(rawValue: "failed-operations")
    /// A rotation failed.
    public static let rotationFailed = Self(rawValue: "rotation-failed")
    /// A key's current version is older than the rotation interval.
    public static let rotationOverdue = Self(rawValue: "rotation-overdue")
    /// A principal uses a key that it never used.
    public static let newPrincipal = Self(rawValue: "new-principal")
    /// A principal does what it never did.
    public static let newOperation = Self(rawValue: "new-operation")
    /// A principal does far more than it ever did.
    public static let rate = Self(rawValue: "rate")
    /// A principal decrypts data of many contexts in a short time.
    public static let manyContexts = Self(rawValue: "many-contexts")
    /// A provider is far slower than it was.
    public static let latency = Self(rawValue: "latency")
    /// The access log takes no events, or has damaged lines.
    public static let logTrouble = Self(rawValue: "log-trouble")
    /// The log's checkpoint could not be signed.
    public static let checkpointFailed = Self(rawValue: "checkpoint-failed")

    /// Every rule there is, in the order of the documentation.
    public static let all: [Rule] = [
      .failedOperations, .rotationFailed, .rotationOverdue, .newPrincipal, .newOperation, .rate, .manyContexts,
      .latency, .logTrouble, .checkpointFailed,
    ]
  }

  /// Which rule found it.
  public let rule: Rule
  /// When it was found, by the clock of the event.
  public let timestamp: Timestamp
  /// Name of the key, where it is about one.
  public var key: String?
  /// The principal, where it is about one.
  public var principal: String?
  /// The provider, where it is about one.
  public var provider: String?
  /// The operation, where it is about one.
  public var operation: String?
  /// One sentence for a person, without secrets.
  public let message: String
  /// So often it was found again since it was last sent, without being sent.
  public internal(set) var repeats = 0

  init(
    _ rule: Rule, at timestamp: Timestamp, key: String? = nil, principal: String? = nil, provider: String? = nil,
    operation: String? = nil, _ message: String
  ) {
    self.rule = rule
    self.timestamp = timestamp
    self.key = key
    self.principal = principal
    self.provider = provider
    self.operation = operation
    self.message = message
  }

  /// What makes two alerts the same.
  var subject: Subject {
    Subject(rule: rule, key: key, principal: principal, provider: provider, operation: operation)
  }

  struct Subject: Sendable, Hashable {
    let rule: Rule
    let key, principal, provider, operation: String?
  }
}

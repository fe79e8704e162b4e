public import KMSCore

/// One line of the access log as it was read. The fields are those that ``AccessLogFile`` writes.
public struct AccessRecord: Sendable, Hashable {
  /// When, in UTC.
  public var timestamp: Timestamp
  /// Number of the line, from 1, without gaps over all files of one writer.
  public var sequence: UInt64
  /// What the record is about.
  public var type: AccessEvent.RecordType
  /// What was done.
  public var operation: AccessEvent.Operation
  /// Before (`intent`) or after (`outcome`).
  public var phase: AccessEvent.Phase
  /// Name of the key.
  public var keyID: String?
  /// Id of the key version.
  public var keyVersion: String?
  /// The provider's configured name.
  public var provider: String?
  /// Nil in an intent.
  public var success: Bool?
  /// A ``KMSError/Code``'s text.
  public var errorCode: String?
  /// What went wrong, cut to 512 bytes.
  public var errorMessage: String?
  /// Principal, or ``unidentified``.
  public var accessedBy: String
  /// The caller's id of the request.
  public var requestID: String?
  /// Id of the trace that the request belongs to.
  public var traceID: String?
  /// Names of the context's pairs; never their values.
  public var contextNames: [String]
  /// Tells contexts of one process apart; see ``Access/contextTag``.
  public var contextTag: UInt64?
  /// Why, for rotations and state changes.
  public var reason: String?
  /// Microseconds; nil in an intent.
  public var durationMicroseconds: Double?
  /// Served from a cache.
  public var cached: Bool
  /// How many operations the record stands for: 1, or more in a summary, whose duration is their mean.
  public var count: Int
  /// About how many contexts those had; nil for one operation, and where an older version wrote it.
  public var contexts: Int?

  /// How an event without a principal is logged.
  public static let unidentified = "unidentified"

  /// Reads one line without its newline. Nil when it is not a record; unknown fields are passed over.
  public init?(line: ArraySlice<UInt8>) {
    guard let fields = JSONObject(line),
      let time = fields["timestamp"]?.string, let timestamp = Timestamp(rfc3339: time),
      let number = fields["sequence"]?.number, let sequence = UInt64(exactly: number),
      let operation = fields["operation"]?.string,
      let word = fields["phase"]?.string, let phase = AccessEvent.Phase(rawValue: word)
    else { return nil }
    self.timestamp = timestamp
    self.sequence = sequence
    type = fields["record"]?.string.map { AccessEvent.RecordType(rawValue: $0) } ?? .access
    self.operation = AccessEvent.Operation(rawValue: operation)
    self.phase = phase
    keyID = fields["key_id"]?.string
    keyVersion = fields["key_version"]?.string
    provider = fields["provider"]?.string
    success = fields["success"]?.bool
    errorCode = fields["error_code"]?.string
    errorMessage = fields["error_message"]?.string
    accessedBy = fields["accessed_by"]?.string ?? Self.unidentified
    requestID = fields["request_id"]?.string
    traceID = fields["trace_id"]?.string
    contextNames = fields["context_names"]?.strings ?? []
    contextTag = fields["context_tag"]?.string.flatMap { UInt64($0, radix: 16) }
    reason = fields["reason"]?.string
    durationMicroseconds = fields["duration_us"]?.number
    cached = fields["cached"]?.bool ?? false
    count = fields["count"]?.number.flatMap { Int(exactly: $0) } ?? 1
    contexts = fields["contexts"]?.number.flatMap { Int(exactly: $0) }
    if phase == .outcome, success == nil { return nil }
  }
}

internal import AccessLog
internal import KMSCore

/// What alert rules look at: the same for an event that happens now and for a record that is read back.
struct Observation: Sendable, Hashable {
  var timestamp: Timestamp
  var operation: AccessEvent.Operation
  var phase: AccessEvent.Phase
  var key: String?
  /// When the key version was made; nil where nobody knows.
  var versionMade: Timestamp?
  var provider: String?
  var principal: String
  /// Nil on success.
  var errorCode: String?
  var nanoseconds: UInt64
  var isCached: Bool
  /// Tells contexts of one process apart.
  var contextTag: UInt64?
  /// Of those that it stands for.
  var contexts = ContextTags()
  /// How many contexts there were of those, where nobody knows which.
  var contextCount: Int?
  /// It stands for several, and nobody knows how many contexts they had.
  var hidesContexts = false
  /// How many operations it stands for.
  var count: Int
  /// What the log did for itself: nobody's use of a key.
  var own: Own?

  enum Own: Sendable, Hashable {
    case failedCheckpoint, lostCopies, other
  }

  init(_ event: borrowing AccessEvent) {
    timestamp = event.timestamp
    operation = event.operation
    phase = event.phase
    key = event.key?.description
    versionMade = event.version?.created
    provider = event.provider
    principal = event.access.principal ?? AccessRecord.unidentified
    errorCode = event.errorCode?.rawValue
    nanoseconds = event.duration.wholeNanoseconds
    isCached = event.cached
    contextTag = event.access.contextTag
    contexts = event.contexts
    count = min(max(1, event.count ?? 1), TelemetryReport.mostInOneRecord)
    own =
      switch event.operation {
      case .sign: event.success ? .other : .failedCheckpoint
      case .logCopy: .lostCopies
      default: nil
      }
  }

  init(_ record: AccessRecord) {
    timestamp = record.timestamp
    operation = record.operation
    phase = record.phase
    key = record.keyID
    versionMade = record.keyVersion.flatMap { try? KeyVersionID(parsing: $0) }?.created
    provider = record.provider
    principal = record.accessedBy
    errorCode = record.success == false ? record.errorCode ?? "unknown" : nil
    nanoseconds = UInt64(max(0, min((record.durationMicroseconds ?? 0) * 1000, 1e18)))
    isCached = record.cached
    contextTag = record.contextTag
    count = min(max(1, record.count), TelemetryReport.mostInOneRecord)
    contextCount = record.contexts.map { min(max(0, $0), count) }
    hidesContexts = record.type == .summary && record.contexts == nil && count > 1
    own =
      switch (record.type, record.success) {
      case (.checkpoint, false): .failedCheckpoint
      case (.copy, false): .lostCopies
      default: record.type.isOwn || record.operation == .sign ? .other : nil
      }
  }
}

extension AccessEvent.Operation {
  /// What an application does with data, as opposed to calls that this makes to providers.
  var isDataUse: Bool { self == .encrypt || self == .decrypt }
}

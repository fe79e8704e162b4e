public import Envelope
public import KMSCore
public import SystemPackage

/// A place that holds envelopes: a folder, a table, an application's own store.
///
/// ``DataAtRestManager/rewrap(_:with:progress:)`` and its kin ask for one batch at a time, work on its items, and
/// give back what is to be stored. The next batch is asked for meanwhile, so two are out at a time: a source needs
/// no more memory than that, and can store a batch in one transaction.
///
/// A source must be such that a run that is killed at any moment leaves each item either as it was or as it should
/// be: the next run then finds what is left to do.
public protocol RewrapSource {
  /// The next items; nil at the end. An item that cannot be read is given with its error, and ends nothing.
  ///
  /// - Throws: what makes the whole source unusable.
  mutating func nextBatch() async throws -> [StoredEnvelope]?

  /// Stores new envelopes in place of old ones; each only where the old one is still there (compare and swap).
  ///
  /// Called once for each batch that ``nextBatch()`` gave, in their order; with nothing where nothing is to be stored.
  /// - Parameter new: the new envelope, by the item's index in the batch.
  /// - Returns: why an item was not stored, by its index.
  /// - Throws: what makes the whole source unusable.
  mutating func replace(_ new: [Int: [UInt8]]) async throws -> [Int: KMSError]

  /// Called once after the last batch: makes everything durable. Not called when a run fails as a whole.
  mutating func finish() async throws

  /// How much was given already, 0 to 1; nil when nobody knows.
  var fractionDone: Double? { get }

  /// Whether what was stored is seen by others only when the run is finished. False where a source does not say.
  var appearsAtTheEnd: Bool { get }

  /// How many things were passed over until now, as they are no envelopes. An own source need not count them.
  var passedOver: Int { get }
}

extension RewrapSource {
  /// No.
  public var appearsAtTheEnd: Bool { false }
  /// None.
  public var passedOver: Int { 0 }
}

/// One envelope where it is stored.
public struct StoredEnvelope: Sendable {
  /// Where it is, for people: `people.csv, row 17, email`.
  public let name: String
  /// The envelope (for a file: its header at least), or why it cannot be read.
  public let envelope: Result<[UInt8], KMSError>
  /// What it was encrypted with.
  public let context: EncryptionContext
  /// Set when the envelope is the beginning of this file: its body is there.
  public let file: FilePath?

  /// See the properties.
  public init(
    name: String, envelope: Result<[UInt8], KMSError>, context: EncryptionContext = .empty, file: FilePath? = nil
  ) {
    self.name = name
    self.envelope = envelope
    self.context = context
    self.file = file
  }
}

/// How a bulk operation is run.
public struct BulkOptions: Sendable {
  /// Nothing is stored; everything else is done, so what would fail is found.
  public var isDryRun: Bool
  /// Items that are worked on at a time.
  public var jobs: Int

  /// One job, for real, unless said otherwise.
  public init(isDryRun: Bool = false, jobs: Int = 1) {
    self.isDryRun = isDryRun
    self.jobs = max(1, jobs)
  }
}

/// What a bulk operation has done.
public struct BulkReport: Sendable {
  /// Items that were changed; in a dry run, that would be.
  public var changed = 0
  /// Items that were as they should be.
  public var unchanged = 0
  /// Items that could not be changed and were left as they were.
  public var failures: [(name: String, error: KMSError)] = []
  /// What was left alone, as it is no envelope.
  public var passedOver = 0

  /// Nothing yet.
  public init() {}

  /// Everything that was looked at.
  public var items: Int { changed + unchanged + failures.count }

  /// Both together.
  public static func += (left: inout BulkReport, right: BulkReport) {
    left.changed += right.changed
    left.unchanged += right.unchanged
    left.failures += right.failures
    left.passedOver += right.passedOver
  }
}

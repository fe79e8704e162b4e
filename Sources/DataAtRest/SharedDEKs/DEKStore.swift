public import Envelope
internal import KMSCore

/// Holds the wrapped keys (DEKs) of fields that share one: what ``DataAtRestManager/encrypt(_:context:partition:key:principal:)-([UInt8],_,_,_,_)``
/// makes with a partition, and what opens those fields.
///
/// What is in it is wrapped and needs no secrecy, but a DEK that is lost takes its fields with it: it belongs into the
/// backups of the data. Any number of processes may share a store.
public protocol DEKStore: Sendable {
  /// Stores a new DEK. When it returns, the DEK is durable: fields are given out only then.
  ///
  /// - Throws: ``KMSError``, also when there is one with this id.
  func add(_ dek: StoredDEK) async throws

  /// The DEK with this id; nil when it is not there.
  func find(_ id: [UInt8]) async throws -> StoredDEK?

  /// DEKs in the order of their ids.
  ///
  /// - Parameters:
  ///   - id: those that come after it; nil: from the first on.
  ///   - limit: so many at most.
  func list(after id: [UInt8]?, limit: Int) async throws -> [StoredDEK]

  /// Stores new blobs of DEKs, all that can be in one go; each only where the old one is still there (compare and swap).
  ///
  /// - Parameter new: for each of `old`, its new blob.
  /// - Returns: the ids of those whose blob was another, which stays.
  func replace(_ old: [StoredDEK], with new: [[UInt8]]) async throws -> Set<[UInt8]>
}

/// A wrapped DEK where it is stored.
public struct StoredDEK: Sendable, Hashable {
  /// The first 16 bytes of the DEK's thumbprint; fields name it.
  public let id: [UInt8]
  /// Whose fields are under it: a tenant, a table …. Bound to the blob.
  public let partition: String
  /// The key blob (docs/envelope-format.md, section 2).
  public let blob: [UInt8]

  /// See the properties.
  public init(id: [UInt8], partition: String, blob: [UInt8]) {
    self.id = id
    self.partition = partition
    self.blob = blob
  }

  /// What the blob is encrypted with: `purpose` is `field-dek`, and `partition`.
  ///
  /// - Throws: ``KMSError/Code/invalidInput`` unless the partition has 1 to 255 bytes.
  public static func context(partition: String) throws -> EncryptionContext {
    guard (1...255).contains(partition.utf8.count) else {
      throw KMSError(
        .invalidInput, "a partition's name has \(partition.utf8.count) bytes", advice: "Allowed are 1 to 255.")
    }
    return try EncryptionContext([("purpose", "field-dek"), ("partition", partition)])
  }
}

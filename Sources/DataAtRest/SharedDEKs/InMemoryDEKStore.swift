internal import KMSCore
internal import Synchronization

/// DEKs in this process' memory: for tests, and ``DEKStore`` in its plainest form.
public final class InMemoryDEKStore: DEKStore {
  private let deks = Mutex<[[UInt8]: StoredDEK]>([:])

  /// None.
  public init() {}

  /// Refuses a second one with the same id.
  public func add(_ dek: StoredDEK) async throws {
    try deks.withLock { deks in
      guard deks[dek.id] == nil else {
        throw KMSError(
          .invalidInput, "the store has a DEK with the id \(dek.hexID) already",
          advice: "Make another: its id is its own.")
      }
      deks[dek.id] = dek
    }
  }

  /// Nil when it is not here.
  public func find(_ id: [UInt8]) async throws -> StoredDEK? { deks.withLock { $0[id] } }

  /// In the order of their ids.
  public func list(after id: [UInt8]?, limit: Int) async throws -> [StoredDEK] {
    let all = deks.withLock { deks in
      deks.values.filter { dek in id.map { $0.lexicographicallyPrecedes(dek.id) } ?? true }
    }
    return Array(all.sorted { $0.id.lexicographicallyPrecedes($1.id) }.prefix(limit))
  }

  /// Each for itself.
  public func replace(_ old: [StoredDEK], with new: [[UInt8]]) async throws -> Set<[UInt8]> {
    deks.withLock { deks in
      var refused: Set<[UInt8]> = []
      for (dek, blob) in zip(old, new) {
        if deks[dek.id] == dek {
          deks[dek.id] = StoredDEK(id: dek.id, partition: dek.partition, blob: blob)
        } else {
          refused.insert(dek.id)
        }
      }
      return refused
    }
  }
}

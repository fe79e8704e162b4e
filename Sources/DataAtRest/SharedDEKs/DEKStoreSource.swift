internal import Envelope
public import KMSCore

/// All DEKs of a store, for a rewrap, a census, a migration. A run that is killed is finished by the next.
public struct DEKStoreSource: RewrapSource {
  private let store: any DEKStore
  private let name: String
  private var last: [UInt8]?
  /// Those that were given and not replaced yet, the oldest first.
  private var batches: [[StoredDEK]] = []

  private static let batchCount = 512

  /// - Parameter name: what the store is called in reports.
  public init(_ store: any DEKStore, name: String = "DEK store") {
    self.store = store
    self.name = name
  }

  /// Not known: a store is not counted.
  public var fractionDone: Double? { nil }

  /// In the order of their ids.
  public mutating func nextBatch() async throws -> [StoredEnvelope]? {
    let deks = try await store.list(after: last, limit: Self.batchCount)
    guard let end = deks.last else { return nil }
    last = end.id
    batches.append(deks)
    return deks.map { dek in
      let item = "\(name), DEK \(dek.hexID) of \(dek.partition)"
      do {
        return StoredEnvelope(
          name: item, envelope: .success(dek.blob), context: try StoredDEK.context(partition: dek.partition))
      } catch { return StoredEnvelope(name: item, envelope: .failure(error.asKMSError)) }
    }
  }

  /// Only where the blob is still the one that was given.
  public mutating func replace(_ new: [Int: [UInt8]]) async throws -> [Int: KMSError] {
    let batch = batches.removeFirst()
    guard !new.isEmpty else { return [:] }
    let changed = new.sorted { $0.key < $1.key }
    let refused = try await store.replace(changed.map { batch[$0.key] }, with: changed.map(\.value))
    let failure = KMSError(
      .fileFailed, "the DEK's blob was changed by somebody else while it was worked on",
      advice: "It was left as it is; run the rewrap again.")
    return Dictionary(
      uniqueKeysWithValues: changed.filter { refused.contains(batch[$0.key].id) }.map { ($0.key, failure) })
  }

  /// Nothing to do: what the store replaced is durable.
  public mutating func finish() async throws {}
}

extension StoredDEK {
  var hexID: String {
    id.map { byte in String(byte, radix: 16).utf8.count == 1 ? "0" + String(byte, radix: 16) : String(byte, radix: 16) }
      .joined()
  }
}

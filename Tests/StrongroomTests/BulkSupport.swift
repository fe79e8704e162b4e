import Foundation
import InMemoryProvider
import Strongroom
import Synchronization

/// An application's own store: envelopes in memory, as its database would have them.
struct ArraySource: RewrapSource {
  /// The store, which outlives a run over it.
  final class Store: Sendable {
    private let content: Mutex<[[UInt8]]>
    init(_ envelopes: [[UInt8]]) { content = Mutex(envelopes) }
    var envelopes: [[UInt8]] {
      get { content.withLock { $0 } }
      set { content.withLock { $0 = newValue } }
    }
    func swap(_ index: Int, from old: [UInt8], to new: [UInt8]) -> Bool {
      content.withLock { content in
        guard content[index] == old else { return false }
        content[index] = new
        return true
      }
    }
  }

  let store: Store
  var context: @Sendable (Int) -> EncryptionContext = { _ in .empty }
  var batchCount = 100
  private(set) var isFinished = false
  private var position = 0
  private var batches: [(start: Int, old: [[UInt8]])] = []

  init(_ store: Store) { self.store = store }

  var fractionDone: Double? { Double(position) / Double(max(1, store.envelopes.count)) }

  mutating func nextBatch() async throws -> [StoredEnvelope]? {
    let all = store.envelopes
    guard position < all.count else { return nil }
    let start = position
    position = min(all.count, position + batchCount)
    batches.append((start, Array(all[start..<position])))
    return all[start..<position].enumerated().map { index, bytes in
      StoredEnvelope(name: "\(start + index)", envelope: .success(bytes), context: context(start + index))
    }
  }

  mutating func replace(_ new: [Int: [UInt8]]) async throws -> [Int: KMSError] {
    let (start, old) = batches.removeFirst()
    var refused: [Int: KMSError] = [:]
    for (index, bytes) in new where !store.swap(start + index, from: old[index], to: bytes) {
      refused[index] = KMSError(.fileFailed, "changed by somebody else", advice: "Run it again.")
    }
    return refused
  }

  mutating func finish() async throws { isFinished = true }
}

extension BulkReport {
  /// Changed, unchanged, failed.
  var counts: [Int] { [changed, unchanged, failures.count] }
}

/// Whether two envelopes differ in nothing but their recipients.
func haveSameBody(_ one: [UInt8], _ other: [UInt8]) throws -> Bool {
  func message(_ bytes: [UInt8]) throws -> (message: EncryptMessage, rest: ArraySlice<UInt8>) {
    switch EnvelopeKind.detect(bytes) {
    case .file:
      let header = try FileHeader(startOf: bytes)
      return (header.keyBlob, bytes[header.size...])
    case .keyBlob: return (try EncryptMessage(parsing: bytes, as: .keyBlob), [])
    default: return (try EncryptMessage(parsing: bytes, as: .field), [])
    }
  }
  let (one, other) = (try message(one), try message(other))
  return try Data(one.rest) == Data(other.rest)
    && one.message.replacing(recipients: other.message.recipients) == other.message
}

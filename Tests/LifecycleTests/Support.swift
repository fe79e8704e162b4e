import Foundation
import RewrapSources
import Strongroom
import Synchronization
import SystemPackage

extension FilePath {
  func write(_ bytes: [UInt8]) throws { try Data(bytes).write(to: URL(filePath: string)) }
  var content: [UInt8] { get throws { Array(try Data(contentsOf: URL(filePath: string))) } }
}

/// Envelopes in memory, as an application's database would have them.
struct ArraySource: RewrapSource {
  final class Store: Sendable {
    private let content = Mutex<[(envelope: [UInt8], context: EncryptionContext)]>([])
    var count: Int { content.withLock { $0.count } }
    var all: [(envelope: [UInt8], context: EncryptionContext)] { content.withLock { $0 } }
    func append(_ envelope: [UInt8], _ context: EncryptionContext = .empty) {
      content.withLock { $0.append((envelope, context)) }
    }
    func set(_ index: Int, _ envelope: [UInt8]) { content.withLock { $0[index].envelope = envelope } }
  }

  let store: Store
  private var position = 0
  private var starts: [Int] = []

  init(_ store: Store) { self.store = store }

  var fractionDone: Double? { nil }

  mutating func nextBatch() async throws -> [StoredEnvelope]? {
    let items = store.all[position...].prefix(512)
    guard !items.isEmpty else { return nil }
    starts.append(position)
    position += items.count
    return items.map { StoredEnvelope(name: "", envelope: .success($0.envelope), context: $0.context) }
  }

  mutating func replace(_ new: [Int: [UInt8]]) async throws -> [Int: KMSError] {
    let start = starts.removeFirst()
    for (index, envelope) in new { store.set(start + index, envelope) }
    return [:]
  }

  mutating func finish() async throws {}
}

/// Takes events, up to the one that it is told to refuse; from then on none.
final class Reporter: AccessReporter {
  private let left = Mutex<Int?>(nil)
  var isBroken: Bool { left.withLock { $0 == 0 } }
  func `break`(after count: Int?) { left.withLock { $0 = count } }

  func report(_ event: AccessEvent) async throws {
    let isTaken = left.withLock { left in
      guard let count = left else { return true }
      if count > 0 { left = count - 1 }
      return count > 0
    }
    guard isTaken else { throw KMSError(.accessLogUnavailable, "crash") }
  }
}

extension BulkReport {
  /// Changed, unchanged, failed.
  var counts: [Int] { [changed, unchanged, failures.count] }
}

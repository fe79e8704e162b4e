internal import AccessLog
internal import Envelope
public import KMSCore

/// How many envelopes need each key version.
public struct Census: Sendable {
  /// When it was begun: a version that was deactivated before has no new envelopes, but for those that somebody was
  /// writing then, which ``DataAtRestManager/destroy(_:justifiedBy:reason:principal:)`` looks for in the log.
  public let taken: Timestamp
  /// Every version that there was then, oldest first.
  public let versions: [KeyVersion]
  /// Envelopes with a recipient under a version, by its id; ids that no configured provider holds are among them.
  public private(set) var envelopesByVersion: [KeyVersionID: Int] = [:]
  /// Envelopes that were read.
  public private(set) var envelopes = 0
  /// Messages under a shared DEK. What they need is said by the key's blob, which must be counted as well.
  public private(set) var underSharedKeys = 0
  /// What could not be read, and may need any version.
  public private(set) var failures: [(name: String, error: KMSError)] = []
  /// What was left alone, as it is no envelope: a table, for instance, which must be counted by its columns.
  public fileprivate(set) var passedOver = 0

  init(versions: [KeyVersion], taken: Timestamp) {
    self.versions = versions
    self.taken = taken
  }

  /// Ids in envelopes that no configured provider holds.
  public var foreign: [KeyVersionID] {
    let known = Set(versions.map(\.id))
    return envelopesByVersion.keys.filter { !known.contains($0) }.sorted()
  }

  mutating func add(_ item: StoredEnvelope) {
    do {
      let bytes = try item.envelope.get()
      guard EnvelopeKind.detect(bytes) == .encrypt0 else {
        let message = try RewrappableMessage(parsing: bytes).message
        for id in Set(message.recipients.map(\.kid)) { envelopesByVersion[id, default: 0] += 1 }
        envelopes += 1
        return
      }
      let id = try KeyVersionID(Encrypt0Message(parsing: bytes).keyID)
      if versions.contains(where: { $0.id == id }) {
        envelopesByVersion[id, default: 0] += 1
        envelopes += 1
      } else {
        underSharedKeys += 1
      }
    } catch {
      failures.append((item.name, error.asKMSError))
    }
  }
}

extension DataAtRestManager {
  /// Begins a census: call it before the data is looked at.
  public func beginCensus(principal: String? = nil) async throws -> Census {
    Census(versions: try await keyVersions(principal: principal), taken: .now())
  }

  /// Counts what is in a source. Nothing is opened, so no key is used.
  public func count<Source: RewrapSource>(
    _ source: inout Source, in census: inout Census,
    progress: (_ items: Int, _ fraction: Double?) -> Void = { _, _ in }
  ) async throws {
    while let batch = try await source.nextBatch() {
      try Task.checkCancellation()
      await Task.yield()
      for item in batch { census.add(item) }
      _ = try await source.replace([:])
      progress(batch.count, source.fractionDone)
    }
    census.passedOver += source.passedOver
  }
}

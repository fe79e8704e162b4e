internal import CryptoPrimitives
internal import Envelope
internal import KMSCore
internal import Synchronization

/// A content key for encrypting, with what it may still be used for.
final class SealingKey: HotKey {
  typealias Tag = DataKeys.Share

  /// Which fields use it.
  let share: DataKeys.Share
  let sealer: FieldSealer
  /// Under which it was wrapped.
  let version: KeyVersion
  /// Nil: it serves every context. Recipients by A256GCM are bound to the one that they were made with.
  fileprivate let context: [UInt8]?
  private let messagesLeft: Atomic<Int>
  private let bytesLeft: Atomic<Int>

  init(
    _ share: DataKeys.Share, sealer: FieldSealer, version: KeyVersion, context: [UInt8]?, limits: CacheLimits
  ) {
    self.share = share
    self.sealer = sealer
    self.version = version
    self.context = context
    messagesLeft = Atomic(limits.maxMessages)
    bytesLeft = Atomic(limits.maxBytes)
  }

  func makeOwn(for share: DataKeys.Share) throws -> OwnSealingKey { OwnSealingKey(self, try sealer.makeOwn(), share) }

  func serves(_ other: EncryptionContext) -> Bool { context.map { $0 == other.encoded } ?? true }

  /// Counts one message, if it may still be encrypted. What was refused counts too: the key is spent then.
  func take(bytes: Int) -> Bool {
    let messages = messagesLeft.subtract(1, ordering: .relaxed).newValue
    let bytes = bytesLeft.subtract(bytes, ordering: .relaxed).newValue
    return messages >= 0 && bytes >= 0
  }

  /// Counts messages back that were given to nobody.
  fileprivate func putBack(_ messages: Int = 1, bytes: Int) {
    messagesLeft.add(messages, ordering: .relaxed)
    bytesLeft.add(bytes, ordering: .relaxed)
  }

  // Of what is left, one caller takes no more than this part in advance.
  private static let share = 64
  private static let mostInAdvance = 64

  /// Counts some messages like one of so many bytes, if there are plenty. How many.
  fileprivate func takeSome(bytes: Int) -> Int {
    let left = min(
      messagesLeft.load(ordering: .relaxed), bytesLeft.load(ordering: .relaxed) / max(1, bytes))
    let count = min(Self.mostInAdvance, left / Self.share)
    guard count > 1 else { return 0 }
    let messages = messagesLeft.subtract(count, ordering: .relaxed).newValue
    let bytesAfter = bytesLeft.subtract(count * bytes, ordering: .relaxed).newValue
    if messages >= 0 && bytesAfter >= 0 { return count }
    putBack(count, bytes: count * bytes)
    return 0
  }
}

/// A sealing key for one caller at a time, with messages that were counted in advance: callers on two processors then
/// seldom meet at the key's own counts.
final class OwnSealingKey: @unchecked Sendable {  // used by one caller at a time
  /// Under which it was wrapped.
  let version: KeyVersion
  private let key: SealingKey
  private let sealer: OwnFieldSealer
  private let context: [UInt8]?
  private let share: DataKeys.Share
  private var messages = 0
  private var bytes = 0

  fileprivate init(_ key: SealingKey, _ sealer: OwnFieldSealer, _ share: DataKeys.Share) {
    self.key = key
    self.sealer = sealer
    version = key.version
    context = key.context?.copy()
    self.share = share
  }

  deinit { key.putBack(messages, bytes: bytes) }

  /// Whether it is the one that these fields use, and a field of this context may.
  func isFor(_ share: DataKeys.Share, _ context: EncryptionContext) -> Bool {
    self.share == share && serves(context)
  }

  /// Whether it is the one that one more field like the last one would use, with this context.
  func isFor(_ context: EncryptionContext) -> Bool {
    serves(context) && share.context.map { $0 == context.encoded } ?? true
  }

  private func serves(_ other: EncryptionContext) -> Bool { context.map { $0 == other.encoded } ?? true }

  /// As ``SealingKey/take(bytes:)``.
  func take(bytes count: Int) -> Bool {
    if messages == 0 || bytes < count {
      if messages > 0 || bytes > 0 { key.putBack(messages, bytes: bytes) }
      messages = key.takeSome(bytes: count)
      bytes = messages * count
      if messages == 0 { return key.take(bytes: count) }
    }
    messages -= 1
    bytes -= count
    return true
  }

  /// Counts a message back that was given to nobody.
  func putBack(bytes: Int) { key.putBack(bytes: bytes) }

  func seal(_ plaintext: Span<UInt8>, context: EncryptionContext) throws -> [UInt8] {
    try sealer.seal(plaintext, context: context)
  }
}

internal import Envelope
internal import KMSCore
internal import Synchronization

/// A content key for encrypting, with what it may still be used for.
final class SealingKey: Sendable {
  let sealer: FieldSealer
  /// Under which it was wrapped.
  let version: KeyVersion
  /// Nil: it serves every context. Recipients by A256GCM are bound to the one that they were made with.
  private let context: [UInt8]?
  private let messagesLeft: Atomic<Int>
  private let bytesLeft: Atomic<Int>

  init(sealer: FieldSealer, version: KeyVersion, context: [UInt8]?, limits: CacheLimits) {
    self.sealer = sealer
    self.version = version
    self.context = context
    messagesLeft = Atomic(limits.maxMessages)
    bytesLeft = Atomic(limits.maxBytes)
  }

  func serves(_ other: EncryptionContext) -> Bool { context.map { $0 == other.encoded } ?? true }

  /// Counts one message, if it may still be encrypted. What was refused counts too: the key is spent then.
  func take(bytes: Int) -> Bool {
    let messages = messagesLeft.subtract(1, ordering: .relaxed).newValue
    let bytes = bytesLeft.subtract(bytes, ordering: .relaxed).newValue
    return messages >= 0 && bytes >= 0
  }
}

/// A content key that a provider has unwrapped.
final class OpeningKey: Sendable {
  let opener: FieldOpener
  /// Which unwrapped it, in the state that it had then.
  let version: KeyVersion

  init(opener: FieldOpener, version: KeyVersion) {
    self.opener = opener
    self.version = version
  }
}

/// The content keys that a manager keeps.
struct DataKeys: Sendable {
  /// Which fields share a key.
  struct Share: Hashable {
    let key: KeyName
    /// Nil: all contexts.
    let context: [UInt8]?
  }

  /// What a provider was given to unwrap.
  struct Wrapped: Hashable {
    let recipient: Recipient
    /// For A256GCM, which authenticates it; else nil.
    let context: [UInt8]?

    init(_ recipient: Recipient, _ context: EncryptionContext) {
      self.recipient = recipient
      self.context = recipient.wrapped.algorithm == .a256GCM ? context.encoded : nil
    }
  }

  let sealing: KeyCache<Share, SealingKey>
  let opening: KeyCache<Wrapped, OpeningKey>

  init(now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }) {
    sealing = KeyCache(now: now)
    opening = KeyCache(now: now)
  }

  func forget() {
    sealing.forget()
    opening.forget()
  }
}

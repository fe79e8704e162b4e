internal import Envelope
internal import KMSCore

/// The content keys that a manager keeps.
struct DataKeys: Sendable {
  /// Which fields share a key.
  struct Share: Hashable {
    let key: KeyName
    /// Nil: fields that hold their own key.
    let partition: String?
    /// Nil: all contexts.
    let context: [UInt8]?

    init(key: KeyName, partition: String? = nil, context: [UInt8]? = nil) {
      self.key = key
      self.partition = partition
      self.context = context
    }

    var hash: UInt64 {
      Self.hash(of: key.description.utf8Span.span) &+ (partition.map { Self.hash(of: $0.utf8Span.span) } ?? 0)
        &+ (context.map { Self.hash(of: $0.span) } ?? 0)
    }

    // To find a place by, so that no more than a few bytes are looked at.
    private static func hash(of bytes: Span<UInt8>) -> UInt64 {
      var hash = UInt64(bytes.count)
      for i in max(0, bytes.count - 8)..<bytes.count { hash = (hash ^ UInt64(bytes[i])) &* 0x100_0000_01B3 }
      return hash ^ hash >> 32
    }
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

  /// A shared DEK, and the recipient of its blob that opens it.
  struct Shared: Hashable {
    let id: [UInt8]
    let recipient: Int
  }

  /// What the fields have in common that a key opens.
  struct Alike {
    private let frame: FieldFrame
    /// For A256GCM, which authenticates it; else nil.
    private let context: [UInt8]?

    /// - Parameter message: one of them.
    init(_ message: [UInt8], _ parts: FieldParts, context: [UInt8]?) {
      frame = FieldFrame(message, parts)
      self.context = context
    }

    /// The parts of one of them; nil for any other.
    func parts(of message: Span<UInt8>, _ context: EncryptionContext) -> FieldParts? {
      if let own = self.context, own != context.encoded { return nil }
      return frame.parts(of: message)
    }
  }

  let sealing: KeyCache<Share, SealingKey>
  let opening: KeyCache<Wrapped, OpeningKey>
  /// Of fields that share a DEK: those that this process made, and those that it opened.
  let sharedSealing: KeyCache<Share, SealingKey>
  let sharedOpening: KeyCache<Shared, OpeningKey>

  /// Nanoseconds of a clock that does not stand still while the machine sleeps.
  let now: @Sendable () -> UInt64

  init(now: @escaping @Sendable () -> UInt64 = { bootNanoseconds() }) {
    self.now = now
    sealing = KeyCache(now: now)
    opening = KeyCache(now: now)
    sharedSealing = KeyCache(now: now)
    sharedOpening = KeyCache(now: now)
  }

  func forget() {
    sealing.forget()
    opening.forget()
    sharedSealing.forget()
    sharedOpening.forget()
  }
}

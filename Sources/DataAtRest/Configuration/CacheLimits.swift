internal import KMSCore

/// How long, for how many messages and for how much data a content key is used again (`cache`, `shared-deks`). Every
/// value is checked when it is made.
public struct CacheLimits: Sendable, Hashable {
  /// What tells cached keys apart besides the key's name and version.
  public enum Partition: String, Sendable, CaseIterable {
    /// Nothing: fields of one key share a content key, whatever their encryption context.
    case key
    /// The encryption context: only fields of equal context share a content key.
    case context
  }

  /// How long a content key is used, and how long it may take until another node's rotations and changes of state
  /// are seen here.
  public let maxAge: Duration
  /// Messages that one content key encrypts, at most.
  public let maxMessages: Int
  /// Bytes of plaintext that one content key encrypts, at most. A longer message gets a key of its own.
  public let maxBytes: Int
  /// Content keys that are kept for encrypting, and as many for decrypting.
  public let maxEntries: Int
  /// Which fields may share a content key.
  public let partition: Partition

  /// 2^36, 64 GiB.
  public static let mostBytes = 1 << 36
  /// 2^32 (RFC 9053, 4.1).
  public static let mostMessages = 1 << 32

  /// - Parameter section: of the configuration, for errors.
  /// - Throws: ``KMSError/Code/configurationInvalid`` with what is allowed.
  public init(
    section: String = "cache", maxAge: Duration = .seconds(300), maxMessages: Int = 1 << 24,
    maxBytes: Int = Self.mostBytes,
    maxEntries: Int = 1000, partition: Partition = .key
  ) throws {
    func check(_ isAllowed: Bool, _ setting: String, _ value: String, _ allowed: String) throws {
      guard !isAllowed else { return }
      throw KMSError(
        .configurationInvalid, "\(section).\(setting): \(value) is out of bounds", advice: "Allowed is \(allowed).")
    }
    let seconds = maxAge.components.seconds
    try check(maxAge >= .seconds(1) && maxAge <= .seconds(86_400), "max-age", "\(seconds) s", "1s to 24h")
    try check((1...Self.mostMessages).contains(maxMessages), "max-messages", "\(maxMessages)", "1 to 4294967296 (2^32)")
    try check((1...Self.mostBytes).contains(maxBytes), "max-bytes", "\(maxBytes) B", "1B to 64GiB")
    try check((1...1_000_000).contains(maxEntries), "max-entries", "\(maxEntries)", "1 to 1000000")
    self.maxAge = maxAge
    self.maxMessages = maxMessages
    self.maxBytes = maxBytes
    self.maxEntries = maxEntries
    self.partition = partition
  }
}

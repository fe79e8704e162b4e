internal import CryptoPrimitives
public import KMSCore

/// The COSE_Key inside a key blob (RFC 9052, 7; docs/envelope-format.md, section 2): a shared DEK or a file's key.
public struct ContentKey: ~Copyable, Sendable {
  /// What the key may be used for; pinned inside the blob.
  public enum Use: Int, Sendable {
    /// Fields that share the key: A256GCM.
    case sharedField = 3
    /// The body of one file, in Tink's streaming format (a private algorithm number).
    case fileBody = -70001
  }

  /// The first 16 bytes of the key's thumbprint.
  public let id: [UInt8]
  /// What it may be used for.
  public let use: Use
  /// 32 bytes.
  public let key: SecretBytes

  /// - Throws: ``KMSError/Code/invalidInput`` unless the key has 32 bytes.
  public init(key: consuming SecretBytes, use: Use) throws {
    guard key.count == 32 else { throw KMSError(.invalidInput, "a content key has 32 bytes, this one \(key.count)") }
    self.init(checked: key, use: use)
  }

  private init(checked key: consuming SecretBytes, use: Use) {
    id = Array(KeyThumbprint.of(key).prefix(16))
    self.use = use
    self.key = key
  }

  /// A fresh one.
  public static func random(for use: Use) -> ContentKey {
    ContentKey(checked: SecretBytes.random(count: 32), use: use)
  }

  /// Reads a key blob's plaintext: `{1: 4, 2: id, 3: alg, -1: key}`.
  ///
  /// - Throws: ``KMSError/Code/malformedEnvelope``; nothing of the key is in it.
  public init(parsing encoded: borrowing SecretBytes) throws {
    let (start, use) = try Self.use(of: encoded)
    let fixed = start.count
    let size = fixed + 32
    guard encoded.count == size else { throw Self.malformed() }
    let parsed = ContentKey(
      checked: encoded.withBytes { SecretBytes(copying: $0.extracting(fixed...)) }, use: use)
    let same = encoded.withBytes { constantTimeEqual($0.extracting(..<fixed), Self.start(parsed.id, use).span) }
    guard same else { throw Self.malformed() }
    self = parsed
  }

  /// The COSE_Key in its only encoding.
  public borrowing func encoded() -> SecretBytes {
    let start = Self.start(id, use)
    return key.withBytes { key in
      SecretBytes(capacity: start.count + key.count) { output in
        for byte in start { output.append(byte) }
        for i in key.indices { output.append(key[i]) }
      }
    }
  }

  borrowing func check(_ expected: Use) throws {
    guard use == expected else {
      throw KMSError(
        .keyPurposeForbids, "the key in the blob is for \(use == .fileBody ? "a file" : "shared fields")",
        advice: "Each key has one use; take the right key blob.")
    }
  }

  /// Everything before the key itself, in the only encoding there is.
  private static func start(_ id: [UInt8], _ use: Use) -> [UInt8] {
    var writer = CBORWriter(capacity: 40)
    writer.head(.map, 4)
    writer.integer(1)
    writer.integer(4)
    writer.integer(2)
    writer.byteString(id)
    writer.integer(3)
    writer.integer(use.rawValue)
    writer.integer(-1)
    writer.head(.bytes, 32)
    return writer.bytes
  }

  private static func use(of encoded: borrowing SecretBytes) throws -> (start: [UInt8], use: Use) {
    for use in [Use.sharedField, .fileBody] {
      let start = start([UInt8](repeating: 0, count: 16), use)
      if encoded.count == start.count + 32 { return (start, use) }
    }
    throw malformed()
  }

  private static func malformed() -> KMSError {
    KMSError(
      .malformedEnvelope, "the key blob does not hold a key of this format",
      advice: "It was made by something else; take a good copy.")
  }
}

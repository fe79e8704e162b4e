internal import CryptoPrimitives
internal import KMSCore

/// A file's body: Tink's AES256_GCM_HKDF_1MB streaming AEAD (docs/envelope-format.md, section 4).
///
/// Segments can be sealed and opened in any order and from several threads.
public struct FileBody: Sendable {
  /// Salt, nonce prefix and the byte before them.
  public static let headSize = 40
  /// Ciphertext with tag; the first segment is ``headSize`` shorter.
  public static let segmentSize = 1_048_576
  static let firstByte: UInt8 = 0x28
  static let saltSize = 32
  static let tagSize = AESGCM.tagSize
  static let prefixSize = 7

  /// The 40 bytes that stand before the first segment.
  public let head: [UInt8]
  private let cipher: AESGCM

  /// A new body under `key`.
  public init(key: borrowing ContentKey, context: EncryptionContext) throws {
    try self.init(
      key: key, context: context,
      head: [Self.firstByte] + Randomness.bytes(Self.saltSize) + Randomness.bytes(Self.prefixSize))
  }

  /// The body that begins with `head`.
  ///
  /// - Throws: ``KMSError/Code/malformedEnvelope``, or ``KMSError/Code/keyPurposeForbids`` for a shared DEK.
  public init(key: borrowing ContentKey, context: EncryptionContext, head: [UInt8]) throws {
    try key.check(.fileBody)
    guard head.count == Self.headSize, head[0] == Self.firstByte else {
      throw KMSError(
        .malformedEnvelope, "malformed envelope: the file's body does not begin as it must",
        advice: "It was changed or cut; take a good copy.")
    }
    self.head = head
    let salt = Array(head[1..<1 + Self.saltSize])
    cipher = try AESGCM(key: HKDF.sha256(key.key, salt: salt, info: Self.authenticatedData(context), count: 32))
  }

  /// Bytes of plaintext in a full segment.
  public static func plaintextSize(ofSegment index: Int) -> Int {
    segmentSize - tagSize - (index == 0 ? headSize : 0)
  }

  /// Bytes of a full segment in the file.
  public static func sealedSize(ofSegment index: Int) -> Int { segmentSize - (index == 0 ? headSize : 0) }

  /// Where a segment begins, counted from the body's first byte.
  public static func offset(ofSegment index: Int) -> Int { index == 0 ? headSize : index * segmentSize }

  /// Where a segment's plaintext begins in that of the file.
  public static func plaintextOffset(ofSegment index: Int) -> Int {
    index == 0 ? 0 : index * (segmentSize - tagSize) - headSize
  }

  /// The segment that a byte of the plaintext is in.
  public static func segment(ofPlaintextAt offset: Int) -> Int { (offset + headSize) / (segmentSize - tagSize) }

  /// Appends ciphertext and tag.
  public func seal(
    _ plaintext: Span<UInt8>, segment index: Int, isLast: Bool, into output: inout OutputSpan<UInt8>
  ) throws {
    let nonce = try nonce(index, isLast)
    try cipher.seal(plaintext, iv: nonce.span, aad: Span(), into: &output)
  }

  /// Appends the plaintext; nothing when it does not open.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen``.
  public func open(
    _ sealed: Span<UInt8>, segment index: Int, isLast: Bool, into output: inout OutputSpan<UInt8>
  ) throws {
    let nonce = try nonce(index, isLast)
    do {
      try cipher.open(sealed, iv: nonce.span, aad: Span(), into: &output)
    } catch let error as KMSError where error.code == .doesNotOpen {
      throw KMSError(
        .doesNotOpen,
        "the file does not open at byte \(index * Self.segmentSize) of its body: it was cut, changed or extended, "
          + "or the context differs", advice: "Give the same context as for encryption, or take a good copy.")
    }
  }

  private func nonce(_ index: Int, _ isLast: Bool) throws -> [UInt8] {
    guard let number = UInt32(exactly: index) else {
      throw KMSError(.limitExceeded, "a file has 2^32 segments (4 PiB) at most", advice: "Split it.")
    }
    let counter = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) }
    return head[(1 + Self.saltSize)...] + counter + [isLast ? 1 : 0]
  }

  /// CBOR `["strongroom-file-v1", {context}]`; the empty context is the empty map here.
  static func authenticatedData(_ context: EncryptionContext) -> [UInt8] {
    var writer = CBORWriter(capacity: 32 + context.encoded.count)
    writer.head(.array, 2)
    writer.text("strongroom-file-v1")
    writer.raw(context.encoded.isEmpty ? [0xA0] : context.encoded)
    return writer.bytes
  }
}

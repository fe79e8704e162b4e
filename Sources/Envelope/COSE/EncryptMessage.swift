internal import CryptoPrimitives
public import KMSCore

/// A self-contained message (COSE_Encrypt, RFC 9052, 5.1): a field or a key blob, with its recipients.
///
/// The protected header commits to the content key (docs/envelope-format.md, section 1).
public struct EncryptMessage: Sendable, Hashable {
  /// What the message holds.
  public enum Content: Sendable, Hashable {
    /// The caller's data, 1 MiB at most.
    case field
    /// A COSE_Key: a shared DEK's or a file's.
    case keyBlob

    var largestPlaintext: Int { self == .field ? 1_048_576 : 128 }
  }

  /// Told apart by the protected content type.
  public let content: Content
  /// Of the content key; 32 bytes.
  public let thumbprint: [UInt8]
  /// 1 to 8.
  public let recipients: [Recipient]
  let iv: [UInt8]
  let ciphertext: [UInt8]

  static let mostRecipients = 8

  private init(content: Content, thumbprint: [UInt8], recipients: [Recipient], iv: [UInt8], ciphertext: [UInt8]) {
    self.content = content
    self.thumbprint = thumbprint
    self.recipients = recipients
    self.iv = iv
    self.ciphertext = ciphertext
  }

  /// Encrypts under a fresh content key, which the caller has wrapped for `recipients`.
  ///
  /// - Parameters:
  ///   - cek: 32 bytes, used for this message only, or for as many as its owner keeps count of (``FieldSealer``).
  ///   - iv: 12 random bytes when nil; given in tests only.
  /// - Throws: ``KMSError/Code/limitExceeded``, ``KMSError/Code/invalidInput``.
  public static func seal(
    _ plaintext: Span<UInt8>, as content: Content, context: EncryptionContext, cek: borrowing SecretBytes,
    iv: [UInt8]? = nil, recipients: [Recipient]
  ) throws -> EncryptMessage {
    guard plaintext.count <= content.largestPlaintext else { throw tooLong(plaintext.count, content) }
    try check(recipients)
    let thumbprint = KeyThumbprint.of(cek)
    let iv = iv ?? Randomness.bytes(AESGCM.ivSize)
    let aad = structure("Encrypt", protected: protectedHeader(content, thumbprint), context)
    let ciphertext = try AESGCM(key: cek).seal(plaintext, iv: iv.span, aad: aad.span)
    return EncryptMessage(
      content: content, thumbprint: thumbprint, recipients: recipients, iv: iv, ciphertext: ciphertext)
  }

  /// Whether it commits to this content key.
  package func isKey(_ cek: borrowing SecretBytes) -> Bool {
    constantTimeEqual(KeyThumbprint.of(cek).span, thumbprint.span)
  }

  /// Decrypts with a content key that a recipient gave.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen`` when key, context or content do not match.
  public func open(with cek: borrowing SecretBytes, context: EncryptionContext) throws -> SecretBytes {
    guard isKey(cek) else { throw Self.anotherKey() }
    return try open(withOwn: cek, context: context)
  }

  /// Decrypts with a content key of which ``isKey(_:)`` is true.
  package func open(withOwn cek: borrowing SecretBytes, context: EncryptionContext) throws -> SecretBytes {
    let aad = Self.structure("Encrypt", protected: Self.protectedHeader(content, thumbprint), context)
    return try AESGCM(key: cek).open(ciphertext.span, iv: iv.span, aad: aad.span)
  }

  /// The same message for other recipients; the body's bytes stay.
  public func replacing(recipients: [Recipient]) throws -> EncryptMessage {
    try Self.check(recipients)
    return EncryptMessage(
      content: content, thumbprint: thumbprint, recipients: recipients, iv: iv, ciphertext: ciphertext)
  }

  /// The message as CBOR.
  public func encoded() -> [UInt8] {
    var writer = CBORWriter(capacity: 96 + ciphertext.count + recipients.reduce(0) { $0 + $1.wrapped.bytes.count + 48 })
    writer.head(.tag, Self.tag)
    writer.head(.array, 4)
    writer.byteString(Self.protectedHeader(content, thumbprint))
    writer.head(.map, 1)
    writer.integer(5)
    writer.byteString(iv)
    writer.byteString(ciphertext)
    writer.head(.array, recipients.count)
    for recipient in recipients { recipient.write(to: &writer) }
    return writer.bytes
  }

  /// What a provider authenticates when it wraps by AES-GCM: Enc_structure with the context "Enc_Recipient".
  public static func recipientAAD(_ context: EncryptionContext) -> [UInt8] {
    structure("Enc_Recipient", protected: Recipient.protectedGCM, context)
  }

  static let tag = 96

  /// Enc_structure (RFC 9052, 5.3).
  static func structure(_ name: String, protected: [UInt8], _ context: EncryptionContext) -> [UInt8] {
    var writer = CBORWriter(capacity: 24 + protected.count + context.encoded.count)
    writer.head(.array, 3)
    writer.text(name)
    writer.byteString(protected)
    writer.byteString(context.encoded)
    return writer.bytes
  }

  // {1: 3, 4: T} or {1: 3, 3: 101, 4: T}
  private static func protectedHeader(_ content: Content, _ thumbprint: [UInt8]) -> [UInt8] {
    let start: [UInt8] =
      content == .field
      ? [0xA2, 0x01, 0x03, 0x04, 0x58, 0x20] : [0xA3, 0x01, 0x03, 0x03, 0x18, 0x65, 0x04, 0x58, 0x20]
    return start + thumbprint
  }

  static func fieldHeader(_ thumbprint: [UInt8]) -> [UInt8] { protectedHeader(.field, thumbprint) }

  static func anotherKey() -> KMSError {
    KMSError(
      .doesNotOpen, "the wrapped key is not the one that the envelope commits to",
      advice: "The envelope was changed or put together from others; take a good copy.")
  }

  static func tooLong(_ count: Int, _ content: Content) -> KMSError {
    KMSError(
      .limitExceeded, "a message holds \(content.largestPlaintext) bytes at most, this has \(count)",
      advice: "Encrypt it as a file.")
  }

  private static func check(_ recipients: [Recipient]) throws {
    guard (1...mostRecipients).contains(recipients.count) else {
      throw KMSError(
        .invalidInput, "a message has \(recipients.count) recipients", advice: "Allowed are 1 to \(mostRecipients).")
    }
  }
}

extension EncryptMessage {
  /// Reads a whole message strictly.
  ///
  /// - Throws: ``KMSError/Code/malformedEnvelope`` with offset and rule.
  public init(parsing bytes: [UInt8], as content: Content) throws {
    var reader = CBORReader(bytes)
    self = try Self(from: &reader, as: content)
    try reader.finish()
  }

  init(from reader: inout CBORReader, as expected: Content) throws {
    try reader.expect(.tag, Self.tag, "tag 96 (COSE_Encrypt)")
    try reader.expect(.array, 4, "an array of four")
    let position = reader.offset
    let header = try ProtectedHeader(from: &reader)
    guard header.content == expected else {
      throw reader.malformed(
        expected == .field ? "this is a key blob, not a field" : "this is a field, not a key blob", at: position)
    }
    content = expected
    thumbprint = header.thumbprint
    try reader.expect(.map, 1, "an unprotected header with an IV alone")
    try reader.expect(.unsigned, 5, "label 5 (IV)")
    iv = try reader.byteString("an IV", AESGCM.ivSize...AESGCM.ivSize)
    ciphertext = try reader.byteString(
      "the ciphertext", AESGCM.tagSize...expected.largestPlaintext + AESGCM.tagSize)
    let start = reader.offset
    let count = try reader.expect(.array, "the recipients' array")
    guard (1...Self.mostRecipients).contains(count) else {
      throw reader.malformed("there are \(count) recipients, allowed are 1 to \(Self.mostRecipients)", at: start)
    }
    recipients = try (0..<count).map { _ in try Recipient(from: &reader) }
  }
}

/// `{1: 3, 4: T}` or `{1: 3, 3: 101, 4: T}`, and nothing else.
struct ProtectedHeader {
  let content: EncryptMessage.Content
  let thumbprint: [UInt8]

  init(from reader: inout CBORReader) throws {
    let range = try reader.byteStringRange("the protected header", 0...64)
    var inner = CBORReader(reader.bytes, from: range.lowerBound, to: range.upperBound)
    let start = inner.offset
    let count = try inner.expect(.map, "a map in the protected header")
    guard count == 2 || count == 3 else {
      throw inner.malformed(
        "the protected header has \(count) labels, not algorithm, commitment and content type", at: start)
    }
    try inner.expect(.unsigned, 1, "label 1 (algorithm) in the protected header")
    try inner.expect(.unsigned, 3, "algorithm 3 (A256GCM)")
    if count == 3 {
      try inner.expect(.unsigned, 3, "label 3 (content type)")
      try inner.expect(.unsigned, 101, "content type 101 (COSE_Key)")
    }
    try inner.expect(.unsigned, 4, "label 4 (commitment to the key)")
    thumbprint = try inner.byteString("a commitment", 32...32)
    try inner.finish()
    content = count == 3 ? .keyBlob : .field
  }
}

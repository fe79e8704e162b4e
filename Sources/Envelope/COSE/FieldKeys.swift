internal import CryptoPrimitives
public import KMSCore

/// A content key that encrypts many fields for the same recipients: what does not differ between them (commitment,
/// recipients, cipher contexts) is made once. Each field has its own random IV; the caller keeps count.
public final class FieldSealer: Sendable {
  private let cipher: AESGCM
  /// The message up to the IV.
  private let head: [UInt8]
  /// Enc_structure up to the context.
  private let structure: [UInt8]
  /// The recipients.
  private let tail: [UInt8]

  /// - Parameter cek: 32 bytes, which the caller has wrapped for `recipients`.
  /// - Throws: ``KMSError/Code/invalidInput``.
  public init(cek: borrowing SecretBytes, recipients: [Recipient]) throws {
    cipher = try AESGCM(key: cek)
    // A message without content is the pattern for all.
    let pattern = try EncryptMessage.seal(
      Span(), as: .field, context: .empty, cek: cek, iv: FieldLayout.noIV, recipients: recipients
    ).encoded()
    head = Array(pattern[..<FieldLayout.ivStart])
    tail = Array(pattern[(FieldLayout.ciphertextStart + 1 + AESGCM.tagSize)...])
    structure = FieldLayout.structure(protected: EncryptMessage.fieldHeader(KeyThumbprint.of(cek)))
  }

  /// Encrypts a field of its own.
  ///
  /// - Parameter iv: 12 random bytes when nil; given in tests only.
  /// - Throws: ``KMSError/Code/limitExceeded`` above 1 MiB.
  /// - Returns: the message as CBOR, the same bytes as ``EncryptMessage/encoded()`` gives.
  public func seal(_ plaintext: Span<UInt8>, context: EncryptionContext, iv: [UInt8]? = nil) throws -> [UInt8] {
    try FieldLayout.check(plaintext.count)
    let iv = iv ?? Randomness.bytes(AESGCM.ivSize)
    let aad = FieldLayout.aad(structure, context)
    let count = plaintext.count + AESGCM.tagSize
    return try [UInt8](capacity: head.count + AESGCM.ivSize + 5 + count + tail.count) { output throws(any Error) in
      output.append(copying: head)
      output.append(copying: iv)
      CBORWriter.appendHead(.bytes, count, to: &output)
      try cipher.seal(plaintext, iv: iv.span, aad: aad.span, into: &output)
      output.append(copying: tail)
    }
  }
}

/// A content key that was unwrapped once and decrypts many fields.
public final class FieldOpener: Sendable {
  private let cipher: AESGCM
  private let structure: [UInt8]
  private let thumbprint: [UInt8]

  /// - Parameter cek: 32 bytes.
  public init(cek: borrowing SecretBytes) throws {
    cipher = try AESGCM(key: cek)
    thumbprint = KeyThumbprint.of(cek)
    structure = FieldLayout.structure(protected: EncryptMessage.fieldHeader(thumbprint))
  }

  /// Whether the message commits to this key.
  public func isKey(of message: EncryptMessage) -> Bool {
    let mine = thumbprint
    return constantTimeEqual(mine.span, message.thumbprint.span)
  }

  /// Decrypts a field. The plaintext is the caller's: an ordinary array.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen`` when key, context or content do not match.
  public func open(_ message: EncryptMessage, context: EncryptionContext) throws -> [UInt8] {
    guard message.content == .field, isKey(of: message) else { throw EncryptMessage.anotherKey() }
    let aad = FieldLayout.aad(structure, context)
    return try [UInt8](capacity: message.ciphertext.count - AESGCM.tagSize) { output throws(any Error) in
      try cipher.open(message.ciphertext.span, iv: message.iv.span, aad: aad.span, into: &output)
    }
  }
}

/// Where the parts of a field stand (docs/envelope-format.md, section 1).
enum FieldLayout {
  static let noIV = [UInt8](repeating: 0, count: AESGCM.ivSize)
  /// Tag 96, array of four, the protected header in its byte string, `{5: `, head of the IV.
  static let ivStart = 3 + 2 + 38 + 3
  static let ciphertextStart = ivStart + AESGCM.ivSize

  static func structure(protected: [UInt8]) -> [UInt8] {
    // With an empty context the structure ends by its empty byte string.
    Array(EncryptMessage.structure("Encrypt", protected: protected, .empty).dropLast())
  }

  static func aad(_ structure: [UInt8], _ context: EncryptionContext) -> [UInt8] {
    var writer = CBORWriter(capacity: structure.count + 3 + context.encoded.count)
    writer.raw(structure)
    writer.byteString(context.encoded)
    return writer.bytes
  }

  static func check(_ count: Int) throws {
    guard count > EncryptMessage.Content.field.largestPlaintext else { return }
    throw EncryptMessage.tooLong(count, .field)
  }
}

internal import CryptoPrimitives
public import KMSCore

/// A message without recipients (COSE_Encrypt0, RFC 9052, 5.2): a field under a shared DEK, or data that a
/// provider encrypted itself (docs/envelope-format.md, sections 3 and 5).
public struct Encrypt0Message: Sendable, Hashable {
  /// The DEK's id (16 bytes), or a key version's (1 to 64).
  public let keyID: [UInt8]
  /// 12 bytes.
  public let iv: [UInt8]
  /// With the 16-byte tag.
  public let ciphertext: [UInt8]

  private static let tag = 16
  private static let protected: [UInt8] = [0xA1, 0x01, 0x03]
  static let largestPlaintext = 1_048_576

  /// - Throws: ``KMSError/Code/invalidInput`` when a part has a wrong length.
  public init(keyID: [UInt8], iv: [UInt8], ciphertext: [UInt8]) throws {
    guard (1...64).contains(keyID.count), iv.count == AESGCM.ivSize,
      (AESGCM.tagSize...Self.largestPlaintext + AESGCM.tagSize).contains(ciphertext.count)
    else {
      throw KMSError(.invalidInput, "these parts are no COSE_Encrypt0 message of this format")
    }
    self.keyID = keyID
    self.iv = iv
    self.ciphertext = ciphertext
  }

  /// - Throws: ``KMSError/Code/malformedEnvelope`` with offset and rule.
  public init(parsing bytes: [UInt8]) throws {
    var reader = CBORReader(bytes)
    try reader.expect(.tag, Self.tag, "tag 16 (COSE_Encrypt0)")
    try reader.expect(.array, 3, "an array of three")
    let position = reader.offset
    guard try reader.byteString("the protected header", 0...64) == Self.protected else {
      throw reader.malformed("the protected header is not {1: 3}", at: position)
    }
    try reader.expect(.map, 2, "an unprotected header of kid and IV")
    try reader.expect(.unsigned, 4, "label 4 (kid)")
    keyID = try reader.byteString("a kid", 1...64)
    try reader.expect(.unsigned, 5, "label 5 (IV)")
    iv = try reader.byteString("an IV", AESGCM.ivSize...AESGCM.ivSize)
    ciphertext = try reader.byteString(
      "the ciphertext", AESGCM.tagSize...Self.largestPlaintext + AESGCM.tagSize)
    try reader.finish()
  }

  /// The message as CBOR.
  public func encoded() -> [UInt8] {
    var writer = CBORWriter(capacity: 32 + keyID.count + ciphertext.count)
    writer.head(.tag, Self.tag)
    writer.head(.array, 3)
    writer.byteString(Self.protected)
    writer.head(.map, 2)
    writer.integer(4)
    writer.byteString(keyID)
    writer.integer(5)
    writer.byteString(iv)
    writer.byteString(ciphertext)
    return writer.bytes
  }

  /// Enc_structure with the context "Encrypt0" (RFC 9052, 5.3): also what a provider authenticates.
  public static func authenticatedData(_ context: EncryptionContext) -> [UInt8] {
    EncryptMessage.structure("Encrypt0", protected: protected, context)
  }

  /// Encrypts a field under a shared DEK.
  ///
  /// - Throws: ``KMSError/Code/limitExceeded`` above 1 MiB; ``KMSError/Code/keyPurposeForbids`` for a file's key.
  public static func seal(
    _ plaintext: Span<UInt8>, context: EncryptionContext, dek: borrowing ContentKey, iv: [UInt8]? = nil
  ) throws -> Encrypt0Message {
    try dek.check(.sharedField)
    guard plaintext.count <= largestPlaintext else {
      throw KMSError(
        .limitExceeded, "a message holds \(largestPlaintext) bytes at most, this has \(plaintext.count)",
        advice: "Encrypt it as a file.")
    }
    let iv = iv ?? Randomness.bytes(AESGCM.ivSize)
    let ciphertext = try AESGCM(key: dek.key).seal(plaintext, iv: iv.span, aad: authenticatedData(context).span)
    return try Encrypt0Message(keyID: dek.id, iv: iv, ciphertext: ciphertext)
  }

  /// Opens a field with the DEK that ``keyID`` names.
  ///
  /// - Throws: ``KMSError/Code/notOurs`` for another DEK, ``KMSError/Code/doesNotOpen``.
  public func open(with dek: borrowing ContentKey, context: EncryptionContext) throws -> SecretBytes {
    try dek.check(.sharedField)
    let isNamed = dek.id == keyID
    guard isNamed else {
      throw KMSError(
        .notOurs, "the field names another shared key", advice: "Open it with the key blob whose id it names.")
    }
    return try AESGCM(key: dek.key).open(ciphertext.span, iv: iv.span, aad: Self.authenticatedData(context).span)
  }
}

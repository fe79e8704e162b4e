internal import CryptoPrimitives
public import KMSCore

/// A content key that encrypts many fields: what does not differ between them (commitment and recipients, or the shared
/// key's id; cipher contexts) is made once. Each field has its own random IV; the caller keeps count.
public final class FieldSealer: Sendable {
  private let cipher: AESGCM
  private let form: SealingForm

  /// For self-contained fields (docs/envelope-format.md, section 1).
  ///
  /// - Parameter cek: 32 bytes, which the caller has wrapped for `recipients`.
  /// - Throws: ``KMSError/Code/invalidInput``.
  public init(cek: borrowing SecretBytes, recipients: [Recipient]) throws {
    cipher = try AESGCM(key: cek)
    // A message without content is the pattern for all.
    let pattern = try EncryptMessage.seal(
      Span(), as: .field, context: .empty, cek: cek, iv: FieldLayout.noIV, recipients: recipients
    ).encoded()
    let start = FieldLayout.selfContained.ivStart
    form = SealingForm(
      head: Array(pattern[..<start]), structure: FieldLayout.structure(of: KeyThumbprint.of(cek)),
      tail: Array(pattern[(start + AESGCM.ivSize + 1 + AESGCM.tagSize)...]))
  }

  /// For fields under a shared key (section 3).
  ///
  /// - Throws: ``KMSError/Code/keyPurposeForbids`` for a file's key.
  public init(dek: borrowing ContentKey) throws {
    try dek.check(.sharedField)
    cipher = try AESGCM(key: dek.key)
    let pattern = try Encrypt0Message(
      keyID: dek.id, iv: FieldLayout.noIV, ciphertext: [UInt8](repeating: 0, count: AESGCM.tagSize)
    ).encoded()
    form = SealingForm(
      head: Array(pattern[..<FieldLayout.shared.ivStart]), structure: FieldLayout.sharedStructure, tail: [])
  }

  /// Encrypts a field of its own.
  ///
  /// - Parameter iv: 12 random bytes when nil; given in tests only.
  /// - Throws: ``KMSError/Code/limitExceeded`` above 1 MiB.
  /// - Returns: the message as CBOR.
  public func seal(_ plaintext: Span<UInt8>, context: EncryptionContext, iv: [UInt8]? = nil) throws -> [UInt8] {
    let cipher = try cipher.take()
    defer { self.cipher.give(cipher) }
    guard let iv else { return try form.seal(plaintext, context: context, iv: Randomness.iv().span, with: cipher) }
    return try form.seal(plaintext, context: context, iv: iv.span, with: cipher)
  }

  /// For one who encrypts many, one after the other.
  package func makeOwn() throws -> OwnFieldSealer { OwnFieldSealer(form.copy(), try cipher.take()) }
}

/// A ``FieldSealer`` for one caller at a time: its memory is touched by no other processor.
package final class OwnFieldSealer: @unchecked Sendable {  // used by one caller at a time
  private let form: SealingForm
  private let cipher: CipherContext
  @exclusivity(unchecked) private var ivs = IVs(Randomness.bytes)  // used by one caller, and not by `body`

  fileprivate init(_ form: SealingForm, _ cipher: CipherContext) {
    self.form = form
    self.cipher = cipher
  }

  /// As ``FieldSealer/seal(_:context:iv:)``.
  package func seal(_ plaintext: Span<UInt8>, context: EncryptionContext) throws -> [UInt8] {
    try unsafe ivs.withNext { iv in try form.seal(plaintext, context: context, iv: iv, with: cipher) }
  }
}

/// What is the same in all fields under a key.
private struct SealingForm {
  /// The message up to the IV.
  let head: [UInt8]
  /// Enc_structure up to the context.
  let structure: [UInt8]
  /// The recipients; nothing under a shared key.
  let tail: [UInt8]

  func copy() -> SealingForm { SealingForm(head: head.copy(), structure: structure.copy(), tail: tail.copy()) }

  func seal(
    _ plaintext: Span<UInt8>, context: EncryptionContext, iv: Span<UInt8>, with cipher: CipherContext
  ) throws -> [UInt8] {
    let limit = EncryptMessage.Content.field.largestPlaintext
    guard plaintext.count <= limit else { throw EncryptMessage.tooLong(plaintext.count, .field) }
    let count = plaintext.count + AESGCM.tagSize
    return try FieldLayout.withAAD(structure, context) { aad in
      try [UInt8](capacity: head.count + AESGCM.ivSize + 5 + count + tail.count) { output throws(any Error) in
        output.append(copying: head)
        output.append(copying: iv)
        CBORWriter.appendHead(.bytes, count, to: &output)
        try cipher.seal(plaintext, iv: iv, aad: aad, into: &output)
        output.append(copying: tail)
      }
    }
  }
}

/// A content key that was unwrapped once and decrypts many fields.
public final class FieldOpener: Sendable {
  private let cipher: AESGCM
  private let form: OpeningForm

  /// For self-contained fields.
  ///
  /// - Parameter cek: 32 bytes.
  public init(cek: borrowing SecretBytes) throws {
    cipher = try AESGCM(key: cek)
    let name = KeyThumbprint.of(cek)
    form = OpeningForm(name: name, structure: FieldLayout.structure(of: name))
  }

  /// For fields under a shared key.
  ///
  /// - Throws: ``KMSError/Code/keyPurposeForbids`` for a file's key.
  public init(dek: borrowing ContentKey) throws {
    try dek.check(.sharedField)
    cipher = try AESGCM(key: dek.key)
    form = OpeningForm(name: dek.id, structure: FieldLayout.sharedStructure)
  }

  /// Whether the message commits to this key.
  public func isKey(of message: EncryptMessage) -> Bool {
    let name = form.name
    return constantTimeEqual(name.span, message.thumbprint.span)
  }

  /// Whether the message commits to this key, or names it.
  package func isKey(of parts: FieldParts, in message: Span<UInt8>) -> Bool { form.isKey(of: parts, in: message) }

  /// Decrypts a field whose parts these are. The plaintext is the caller's: an ordinary array.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen`` when key, context or content do not match.
  package func open(_ message: Span<UInt8>, _ parts: FieldParts, context: EncryptionContext) throws -> [UInt8] {
    let cipher = try cipher.take()
    defer { self.cipher.give(cipher) }
    return try form.open(message, parts, context: context, with: cipher)
  }

  /// For one who decrypts many, one after the other.
  package func makeOwn() throws -> OwnFieldOpener { OwnFieldOpener(form.copy(), try cipher.take()) }
}

/// A ``FieldOpener`` for one caller at a time: its memory is touched by no other processor.
package final class OwnFieldOpener: Sendable {
  private let form: OpeningForm
  private let cipher: CipherContext

  fileprivate init(_ form: OpeningForm, _ cipher: CipherContext) {
    self.form = form
    self.cipher = cipher
  }

  /// As ``FieldOpener/open(_:_:context:)``.
  package func open(_ message: Span<UInt8>, _ parts: FieldParts, context: EncryptionContext) throws -> [UInt8] {
    try form.open(message, parts, context: context, with: cipher)
  }
}

/// What is the same in all fields that a key opens.
private struct OpeningForm {
  /// The thumbprint that self-contained fields commit to, or the id that fields under a shared key name.
  let name: [UInt8]
  let structure: [UInt8]

  func copy() -> OpeningForm { OpeningForm(name: name.copy(), structure: structure.copy()) }

  func isKey(of parts: FieldParts, in message: Span<UInt8>) -> Bool {
    constantTimeEqual(name.span, message.extracting(parts.name))
  }

  func open(
    _ message: Span<UInt8>, _ parts: FieldParts, context: EncryptionContext, with cipher: CipherContext
  ) throws -> [UInt8] {
    guard isKey(of: parts, in: message) else { throw EncryptMessage.anotherKey() }
    let (sealed, iv) = (message.extracting(parts.ciphertext), message.extracting(parts.iv))
    return try FieldLayout.withAAD(structure, context) { aad in
      try [UInt8](capacity: sealed.count - AESGCM.tagSize) { output throws(any Error) in
        try cipher.open(sealed, iv: iv, aad: aad, into: &output)
      }
    }
  }
}

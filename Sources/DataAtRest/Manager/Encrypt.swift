internal import AccessLog
public import Envelope
public import KMSCore

/// Bytes and strings.
extension DataAtRestManager {
  /// Largest plaintext of a field, in bytes. More goes into a file.
  public static let fieldLimit = 1_048_576

  /// Encrypts bytes into a self-contained envelope (docs/envelope-format.md, section 1; section 5 when envelope
  /// encryption is off).
  ///
  /// - Parameters:
  ///   - plaintext: 1 MiB at most; 64 KiB when envelope encryption is off.
  ///   - context: what the data is (table, column, row …). Decryption needs the same.
  ///   - key: the configuration's key when nil.
  ///   - principal: on whose behalf; ``withPrincipal(_:_:)``'s when nil.
  /// - Throws: ``KMSError``: ``KMSError/Code/keyNotFound``, ``KMSError/Code/limitExceeded``, ….
  public func encrypt(
    _ plaintext: [UInt8], context: EncryptionContext = .empty, key: KeyName? = nil, principal: String? = nil
  ) async throws -> [UInt8] {
    let access = Access(principal: principal, context: context)
    return try await logged(.encrypt, access) { event in
      let config = try enabledConfiguration()
      let name = key ?? config.kmsKeyID
      guard config.envelopeEncryptionEnabled else {
        return try await encryptDirectly(plaintext, context: context, key: name, access: access, event: &event)
      }
      guard plaintext.count <= Self.fieldLimit else {
        throw KMSError(
          .limitExceeded, "a field holds 1 MiB at most, this has \(plaintext.count) bytes",
          advice: "Encrypt it as a file.")
      }
      if let limits = config.cache, plaintext.count <= limits.maxBytes {
        return try await encryptCached(
          plaintext, context: context, key: name, limits: limits, access: access, event: &event)
      }
      let cek = SecretBytes.random(count: 32)
      let recipients = try await recipients(for: cek, key: name, context: context, access: access, event: &event)
      return try EncryptMessage.seal(
        plaintext.span, as: .field, context: context, cek: cek, recipients: recipients
      ).encoded()
    }
  }

  /// Encrypts a string's UTF-8 bytes. See ``encrypt(_:context:key:principal:)-([UInt8],_,_,_)``.
  public func encrypt(
    _ text: String, context: EncryptionContext = .empty, key: KeyName? = nil, principal: String? = nil
  ) async throws -> [UInt8] {
    try await encrypt(Array(text.utf8), context: context, key: key, principal: principal)
  }

  /// Opens what ``encrypt(_:context:key:principal:)-([UInt8],_,_,_)`` gave.
  ///
  /// - Parameter allowCompromised: whether a key version that is marked compromised may be used.
  /// - Throws: ``KMSError/Code/malformedEnvelope``, ``KMSError/Code/notOurs``, ``KMSError/Code/doesNotOpen``, ….
  public func decrypt(
    _ message: [UInt8], context: EncryptionContext = .empty, principal: String? = nil, allowCompromised: Bool = false
  ) async throws -> [UInt8] {
    let access = Access(principal: principal, context: context)
    return try await logged(.decrypt, access) { event in
      let config = try enabledConfiguration()
      if let limits = config.cache, EnvelopeKind.detect(message) == .field {
        return try await decryptCached(
          message, context: context, limits: limits, allowCompromised: allowCompromised, access: access,
          event: &event)
      }
      let plaintext = try await open(
        message, context: context, allowCompromised: allowCompromised, access: access, event: &event)
      return plaintext.unprotectedCopy()
    }
  }

  /// Opens a field, whichever way it was encrypted.
  func open(
    _ message: [UInt8], context: EncryptionContext, allowCompromised: Bool, access: Access, event: inout AccessEvent
  ) async throws -> SecretBytes {
    switch EnvelopeKind.detect(message) {
    case .encrypt0:
      return try await decryptDirectly(
        message, context: context, allowCompromised: allowCompromised, access: access, event: &event)
    case .file:
      throw KMSError(
        .malformedEnvelope, "this is an encrypted file, not a field", advice: "Decrypt it as a file.")
    default:
      let parsed = try EncryptMessage(parsing: message, as: .field)
      let cek = try await contentKey(
        of: parsed, context: context, allowCompromised: allowCompromised, access: access, event: &event)
      return try parsed.open(with: cek, context: context)
    }
  }

  /// Opens a message that holds a string.
  ///
  /// - Throws: ``KMSError/Code/invalidInput`` when the plaintext is not UTF-8, besides what ``decrypt`` throws.
  public func decryptString(
    _ message: [UInt8], context: EncryptionContext = .empty, principal: String? = nil, allowCompromised: Bool = false
  ) async throws -> String {
    let bytes = try await decrypt(
      message, context: context, principal: principal, allowCompromised: allowCompromised)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw KMSError(.invalidInput, "the plaintext is not UTF-8 text", advice: "Decrypt it as bytes.")
    }
    return text
  }
}

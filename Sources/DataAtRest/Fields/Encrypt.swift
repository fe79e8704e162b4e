internal import AccessLog
public import Envelope
public import KMSCore

/// Bytes and strings.
extension DataAtRestManager {
  /// Largest plaintext of a field, in bytes. More goes into a file.
  public static let fieldLimit = 1_048_576

  /// Encrypts bytes into a self-contained envelope (docs/envelope-format.md, section 1; section 5 when envelope
  /// encryption is off), or under a DEK that a partition shares (section 3).
  ///
  /// - Parameters:
  ///   - plaintext: 1 MiB at most; 64 KiB when envelope encryption is off.
  ///   - context: what the data is (table, column, row …). Decryption needs the same.
  ///   - partition: whose shared DEK encrypts it, such as a tenant; the manager must have a ``DEKStore``. 73 bytes for 16
  ///     then, and a rotation rewraps the DEK alone. Nil: the field holds its own key.
  ///   - key: the configuration's key when nil.
  ///   - principal: on whose behalf; ``withPrincipal(_:_:)``'s when nil.
  /// - Throws: ``KMSError``: ``KMSError/Code/keyNotFound``, ``KMSError/Code/limitExceeded``, ….
  public func encrypt(
    _ plaintext: [UInt8], context: EncryptionContext = .empty, partition: String? = nil, key: KeyName? = nil,
    principal: String? = nil
  ) async throws -> [UInt8] {
    if let sealed = encryptQuickly(
      plaintext, context: context, partition: partition, key: key, principal: principal)
    {
      return sealed
    }
    let access = Access(principal: principal, context: context)
    return try await logged(.encrypt, access) { event in
      let config = try enabledConfiguration()
      return try await seal(
        plaintext, context: context, partition: partition, key: key ?? config.kmsKeyID, config, access: access,
        event: &event
      ).message
    }
  }

  /// Encrypts a string's UTF-8 bytes. See ``encrypt(_:context:partition:key:principal:)-([UInt8],_,_,_,_)``.
  public func encrypt(
    _ text: String, context: EncryptionContext = .empty, partition: String? = nil, key: KeyName? = nil,
    principal: String? = nil
  ) async throws -> [UInt8] {
    try await encrypt(Array(text.utf8), context: context, partition: partition, key: key, principal: principal)
  }

  /// Encrypts a field, and gives the content key where it may serve the next one as well.
  func seal(
    _ plaintext: [UInt8], context: EncryptionContext, partition: String?, key: KeyName, _ config: DataAtRestConfig,
    access: Access, event: inout AccessEvent
  ) async throws -> (message: [UInt8], key: SealingKey?) {
    guard config.envelopeEncryptionEnabled else {
      guard partition == nil else {
        throw KMSError(
          .notSupported, "a partition shares a DEK, and direct encryption has none",
          advice: "Switch data-at-rest.envelope-encryption-enabled on.", key: key.description)
      }
      return (
        try await encryptDirectly(plaintext, context: context, key: key, access: access, event: &event), nil
      )
    }
    guard plaintext.count <= Self.fieldLimit else {
      throw KMSError(
        .limitExceeded, "a field holds 1 MiB at most, this has \(plaintext.count) bytes",
        advice: "Encrypt it as a file.")
    }
    let kept: SealingKey
    if let partition {
      kept = try await sharedSealingKey(
        of: partition, key: key, bytes: plaintext.count, access: access, event: &event)
    } else if let limits = config.cache, plaintext.count <= limits.maxBytes {
      kept = try await sealingKey(
        for: key, context: context, bytes: plaintext.count, limits: limits, access: access, event: &event)
    } else {
      let cek = SecretBytes.random(count: 32)
      let recipients = try await recipients(for: cek, key: key, context: context, access: access, event: &event)
      return (
        try EncryptMessage.seal(
          plaintext.span, as: .field, context: context, cek: cek, recipients: recipients
        ).encoded(), nil
      )
    }
    return (try kept.sealer.seal(plaintext.span, context: context), kept)
  }

  /// Opens what ``encrypt(_:context:partition:key:principal:)-([UInt8],_,_,_,_)`` gave.
  ///
  /// - Parameter allowCompromised: whether a key version that is marked compromised may be used.
  /// - Throws: ``KMSError/Code/malformedEnvelope``, ``KMSError/Code/notOurs``, ``KMSError/Code/doesNotOpen``, ….
  public func decrypt(
    _ message: [UInt8], context: EncryptionContext = .empty, principal: String? = nil, allowCompromised: Bool = false
  ) async throws -> [UInt8] {
    if let plaintext = decryptQuickly(
      message, context: context, allowCompromised: allowCompromised, principal: principal)
    {
      return plaintext
    }
    let access = Access(principal: principal, context: context)
    return try await logged(.decrypt, access) { event in
      try await open(
        message, context: context, allowCompromised: allowCompromised, enabledConfiguration(), access: access,
        event: &event
      ).plaintext
    }
  }

  /// Opens a field, and gives the content key where it may serve the next one as well.
  func open(
    _ message: [UInt8], context: EncryptionContext, allowCompromised: Bool, _ config: DataAtRestConfig,
    access: Access, event: inout AccessEvent
  ) async throws -> (plaintext: [UInt8], key: OpeningKey?) {
    let kept: (parts: FieldParts, key: OpeningKey)?
    if let limits = config.cache, let parts = FieldParts(of: message.span), !parts.isShared {
      kept = (
        parts,
        try await openingKey(
          of: message, parts, context: context, limits: limits, allowCompromised: allowCompromised, access: access,
          event: &event)
      )
    } else {
      kept = try await sharedKey(of: message, allowCompromised: allowCompromised, access: access, event: &event)
    }
    if let kept { return (try kept.key.opener.open(message.span, kept.parts, context: context), kept.key) }
    let plaintext = try await open(
      message, context: context, allowCompromised: allowCompromised, access: access, event: &event)
    return (plaintext.unprotectedCopy(), nil)
  }

  /// Opens a field that is under no shared DEK, by its provider.
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
      return try parsed.open(withOwn: cek, context: context)
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

internal import AccessLog
internal import Envelope
internal import KMSCore

/// Wrapping and unwrapping of content keys: where envelopes meet providers.
extension DataAtRestManager {
  /// Wraps `cek` under the key's current version and under every recovery recipient.
  func recipients(
    for cek: borrowing SecretBytes, key: KeyName, context: EncryptionContext, access: Access, event: inout AccessEvent
  ) async throws -> [Recipient] {
    event.key = key
    let aad = EncryptMessage.recipientAAD(context)
    let first = try await wrapped(cek, aad: aad, access: access) {
      let version = try await directory.current(of: key, purpose: .wrap, access: access)
      event.version = version.id
      event.provider = version.provider
      try checkWillUnwrap(version)
      return version
    }
    var recipients = [first]
    for name in configuration.recoveryRecipients where name != key {
      recipients.append(
        try await wrapped(cek, aad: aad, access: access) {
          try await directory.recovery(of: name, access: access)
        })
    }
    return recipients
  }

  /// Wraps `cek` under the version that `find` gives.
  private func wrapped(
    _ cek: borrowing SecretBytes, aad: [UInt8], access: Access, under find: () async throws -> KeyVersion
  ) async throws -> Recipient {
    try await withNewest(access: access, find) { version, provider in
      Recipient(kid: version.id, wrapped: try await provider.wrap(cek, under: version.id, aad: aad))
    }
  }

  /// Uses the version that `find` gives; where another node has rotated since the directory was read, the newer one.
  func withNewest<Result>(
    access: Access, _ find: () async throws -> KeyVersion,
    _ use: (KeyVersion, AccessLoggedProvider) async throws -> Result
  ) async throws -> Result {
    var version = try await find()
    while true {
      let provider = try providers.provider(version.provider, access: access, key: version.key)
      do { return try await use(version, provider) } catch let error as KMSError
        where error.code == .keyStateForbids || error.code == .keyNotFound
      {
        directory.invalidate()
        let newer = try await find()
        guard version.id < newer.id else { throw error }  // so it ends
        version = newer
      }
    }
  }

  /// The current version of each configured recovery key, in the configured order.
  ///
  /// - Throws: ``KMSError/Code/keyNotFound``, ``KMSError/Code/keyStateForbids`` when one has none.
  func recoveryVersions(access: Access) async throws -> [KeyVersion] {
    var versions: [KeyVersion] = []
    for name in configuration.recoveryRecipients {
      versions.append(try await directory.recovery(of: name, access: access))
    }
    return versions
  }

  /// Unwraps the content key, to which the message commits, through the first recipient that is ours and opens.
  func contentKey(
    of message: EncryptMessage, context: EncryptionContext, allowCompromised: Bool, access: Access,
    event: inout AccessEvent
  ) async throws -> SecretBytes {
    let aad = EncryptMessage.recipientAAD(context)
    return try await firstThatOpens(
      message, allowCompromised: allowCompromised, access: access, event: &event
    ) { recipient, version, provider in
      let cek = try await provider.unwrap(recipient.wrapped, under: version.id, aad: aad)
      let matches = message.isKey(cek)
      guard matches else { throw Self.anotherKey(version) }
      return cek
    }
  }

  /// What `unwrap` makes of the first recipient that is ours and opens.
  func firstThatOpens<Key: ~Copyable>(
    _ message: EncryptMessage, allowCompromised: Bool, access: Access, event: inout AccessEvent,
    _ unwrap: (Recipient, KeyVersion, AccessLoggedProvider) async throws -> Key
  ) async throws -> Key {
    var failure: KMSError?
    for recipient in message.recipients {
      // What a recovery key wrapped opens with its copy only.
      guard let version = try await directory.version(recipient.kid, access: access), version.purpose != .recovery
      else { continue }
      event.note(version)
      do {
        try Self.checkCompromised(version, allowed: allowCompromised)
        try checkMayUnwrap(version)
        let provider = try providers.provider(version.provider, access: access, key: version.key)
        return try await unwrap(recipient, version, provider)
      } catch let error as KMSError where error.code != .accessLogUnavailable {
        failure = failure ?? error
      }
    }
    throw failure ?? notOurs(message)
  }

  static func checkCompromised(_ version: KeyVersion, allowed: Bool) throws {
    guard version.state == .compromised, !allowed else { return }
    throw KMSError(
      .keyStateForbids, "key version \(version.id) is marked compromised",
      advice: "Open it with --allow-compromised, then encrypt the data anew under another key.",
      provider: version.provider, key: version.key.description)
  }

  /// Which setting forbids that data opens under this version, if one does. Under a recovery key none opens here
  /// anyway, so none is too old.
  private func tooOld(_ version: KeyVersion) -> OldestVersion? {
    guard version.purpose != .recovery else { return nil }
    return configuration.minUnwrapVersion.flatMap { $0.forbids(version.id) ? $0 : nil }
  }

  /// Asked before every unwrapping, direct decryption and rewrap inside.
  func checkMayUnwrap(_ version: KeyVersion) throws {
    guard let oldest = tooOld(version) else { return }
    throw KMSError(
      .keyStateForbids, "key version \(version.id) is older than data-at-rest.min-unwrap-version (\(oldest)) allows",
      advice: "Set min-unwrap-version back if this data is still needed, and rewrap it before you raise it again.",
      provider: version.provider, key: version.key.description)
  }

  /// Nothing is encrypted that would not open again.
  func checkWillUnwrap(_ version: KeyVersion) throws {
    guard let oldest = tooOld(version) else { return }
    throw KMSError(
      .keyStateForbids,
      "the current version of key '\(version.key)' is older than data-at-rest.min-unwrap-version "
        + "(\(oldest)) allows, so the data would not open again",
      advice: "Make a new version with 'strongroom key rotate \(version.key)', or set min-unwrap-version back.",
      provider: version.provider, key: version.key.description)
  }

  static func anotherKey(_ version: KeyVersion) -> KMSError {
    KMSError(
      .doesNotOpen, "the wrapped key is not the one that the envelope commits to",
      advice: "The envelope was changed or put together from others; take a good copy.", provider: version.provider,
      key: version.key.description)
  }

  func notOurs(_ message: EncryptMessage) -> KMSError {
    if let failure = directory.failure { return failure }
    let kids = message.recipients.map(\.kid.description).joined(separator: ", ")
    return KMSError(
      .notOurs, "no configured provider holds a key for this envelope; it needs \(kids)",
      advice: "Configure the provider that holds it; 'strongroom inspect' shows what an envelope needs.")
  }
}

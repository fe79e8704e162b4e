internal import AccessLog
internal import Envelope
internal import KMSCore

/// Fields under content keys that are used again (`cache`). Each is logged as without; only the provider is not asked.
extension DataAtRestManager {
  /// A key that may encrypt one more field of so many bytes.
  func sealingKey(
    for key: KeyName, context: EncryptionContext, bytes: Int, limits: CacheLimits, access: Access,
    event: inout AccessEvent
  ) async throws -> SealingKey {
    let share = DataKeys.Share(key: key, context: limits.partition == .context ? context.encoded : nil)
    let found = try await kept(in: dataKeys.sealing, share, context, bytes: bytes, limits, &event) {
      try await self.makeSealingKey(for: share, context: context, limits: limits, access: access)
    }
    if found.serves(context) { return found }
    // Another context's, by a provider that binds each wrapped key to its context.
    let own = DataKeys.Share(key: key, context: context.encoded)
    return try await kept(in: dataKeys.sealing, own, context, bytes: bytes, limits, &event) {
      try await self.makeSealingKey(for: own, context: context, limits: limits, access: access)
    }
  }

  /// The key of those who share it, kept or made now; and one message counted, unless it is for another context.
  func kept(
    in cache: KeyCache<DataKeys.Share, SealingKey>, _ share: DataKeys.Share, _ context: EncryptionContext, bytes: Int,
    _ limits: CacheLimits, _ event: inout AccessEvent, make: @escaping @Sendable () async throws -> SealingKey
  ) async throws -> SealingKey {
    let isSpent = { (key: SealingKey) in key.serves(context) && !key.take(bytes: bytes) }
    event.key = share.key
    var (found, isCached) = (cache.find(share, hot: (share.hash, share), isSpent: isSpent), true)
    if found == nil {
      do {
        (found, isCached) = try await cache.key(for: share, limits: limits, isSpent: isSpent, make: make)
      } catch let error as KMSError {
        event.provider = error.provider
        throw error
      }
    }
    guard let found else { preconditionFailure("a cache gives a key or throws") }
    event.note(found.version)
    event.cached = isCached
    return found
  }

  private func makeSealingKey(
    for share: DataKeys.Share, context: EncryptionContext, limits: CacheLimits, access: Access
  ) async throws -> SealingKey {
    let cek = SecretBytes.random(count: 32)
    let (recipients, version) = try await recipients(for: cek, key: share.key, context: context, access: access)
    let isBound = recipients.contains { $0.wrapped.algorithm == .a256GCM }
    return SealingKey(
      share, sealer: try FieldSealer(cek: cek, recipients: recipients), version: version,
      context: isBound ? context.encoded : nil, limits: limits)
  }

  /// A content key wrapped under a key's current version, and that version.
  func recipients(
    for cek: borrowing SecretBytes, key: KeyName, context: EncryptionContext, access: Access
  ) async throws -> ([Recipient], KeyVersion) {
    var event = AccessEvent(.encrypt)
    let recipients = try await recipients(for: cek, key: key, context: context, access: access, event: &event)
    guard let id = recipients.first?.kid, let version = try await directory.version(id, access: access) else {
      throw KMSError(.keyNotFound, "key '\(key)' was removed meanwhile", key: key.description)
    }
    return (recipients, version)
  }

  /// The key that opens a field, unwrapped now or before.
  func openingKey(
    of message: [UInt8], _ parts: FieldParts, context: EncryptionContext, limits: CacheLimits, allowCompromised: Bool,
    access: Access, event: inout AccessEvent
  ) async throws -> OpeningKey {
    let parsed = try EncryptMessage(parsing: message, as: .field)
    for recipient in parsed.recipients {
      let wrapped = DataKeys.Wrapped(recipient, context)
      let alike = DataKeys.Alike(message, parts, context: wrapped.context)
      if let kept = keptKey(in: dataKeys.opening, wrapped, message, alike, allowCompromised, &event),
        kept.opener.isKey(of: parts, in: message.span)
      {
        return kept
      }
    }
    event.cached = false
    var isCached = false
    let opening = try await firstThatOpens(
      parsed, allowCompromised: allowCompromised, access: access, event: &event
    ) { recipient, version, provider in
      let aad = EncryptMessage.recipientAAD(context)
      let found = try await dataKeys.opening.key(for: DataKeys.Wrapped(recipient, context), limits: limits) {
        let cek = try await provider.unwrap(recipient.wrapped, under: version.id, aad: aad)
        return OpeningKey(opener: try FieldOpener(cek: cek), version: try await self.known(version, access: access))
      }
      try Self.checkCompromised(found.key.version, allowed: allowCompromised)
      guard found.key.opener.isKey(of: parts, in: message.span) else { throw Self.anotherKey(version) }
      isCached = found.isCached
      return found.key
    }
    event.cached = isCached
    return opening
  }

  func keptKey<ID>(
    in cache: KeyCache<ID, OpeningKey>, _ id: ID, _ message: [UInt8], _ alike: DataKeys.Alike,
    _ allowCompromised: Bool, _ event: inout AccessEvent
  ) -> OpeningKey? {
    guard let kept = cache.find(id, hot: FieldHint(message.span).map { ($0.hash, alike) }),
      mayOpen(kept.version, allowCompromised: allowCompromised, configuration.minUnwrapVersion)
    else {
      return nil
    }
    event.note(kept.version)
    event.cached = true
    return kept
  }

  /// The version as it is known now: what is kept is asked for its state, which may have changed since it was looked up.
  func known(_ version: KeyVersion, access: Access) async throws -> KeyVersion {
    try await directory.version(version.id, access: access) ?? version
  }

  /// Whether the version that unwrapped it may be used, now as then.
  func mayOpen(_ version: KeyVersion, allowCompromised: Bool, _ least: OldestVersion?) -> Bool {
    (version.state != .compromised || allowCompromised) && least.map { !$0.forbids(version.id) } ?? true
  }
}

extension AccessEvent {
  /// That it was done under this version.
  mutating func note(_ version: KeyVersion) {
    key = version.key
    self.version = version.id
    provider = version.provider
  }
}

internal import AccessLog
internal import Envelope
internal import KMSCore

/// Fields under content keys that are used again (`cache`). Each is logged as without; only the provider is not asked.
extension DataAtRestManager {
  func encryptCached(
    _ plaintext: [UInt8], context: EncryptionContext, key: KeyName, limits: CacheLimits, access: Access,
    event: inout AccessEvent
  ) async throws -> [UInt8] {
    event.key = key
    let sealing = try await sealingKey(
      for: key, context: context, bytes: plaintext.count, limits: limits, access: access, event: &event)
    return try sealing.sealer.seal(plaintext.span, context: context)
  }

  /// A key that may encrypt one more message of so many bytes.
  private func sealingKey(
    for key: KeyName, context: EncryptionContext, bytes: Int, limits: CacheLimits, access: Access,
    event: inout AccessEvent
  ) async throws -> SealingKey {
    var share = DataKeys.Share(key: key, context: limits.partition == .context ? context.encoded : nil)
    while true {
      let (found, isCached): (SealingKey, Bool)
      do {
        (found, isCached) = try await dataKeys.sealing.key(
          for: share, limits: limits, isSpent: { $0.serves(context) && !$0.take(bytes: bytes) },
          make: { try await self.makeSealingKey(for: key, context: context, limits: limits, access: access) })
      } catch let error as KMSError {
        event.provider = error.provider
        throw error
      }
      if found.serves(context) {
        event.version = found.version.id
        event.provider = found.version.provider
        event.cached = isCached
        return found
      }
      // Another context's, by a provider that binds each wrapped key to its context.
      share = DataKeys.Share(key: key, context: context.encoded)
    }
  }

  private func makeSealingKey(
    for key: KeyName, context: EncryptionContext, limits: CacheLimits, access: Access
  ) async throws -> SealingKey {
    let cek = SecretBytes.random(count: 32)
    var event = AccessEvent(.encrypt)
    let recipients = try await recipients(for: cek, key: key, context: context, access: access, event: &event)
    guard let id = recipients.first?.kid, let version = try await directory.version(id, access: access) else {
      throw KMSError(.keyNotFound, "key '\(key)' was removed meanwhile", key: key.description)
    }
    let isBound = recipients.contains { $0.wrapped.algorithm == .a256GCM }
    return SealingKey(
      sealer: try FieldSealer(cek: cek, recipients: recipients), version: version,
      context: isBound ? context.encoded : nil, limits: limits)
  }

  func decryptCached(
    _ message: [UInt8], context: EncryptionContext, limits: CacheLimits, allowCompromised: Bool, access: Access,
    event: inout AccessEvent
  ) async throws -> [UInt8] {
    let parsed = try EncryptMessage(parsing: message, as: .field)
    for recipient in parsed.recipients {
      guard let kept = dataKeys.opening.find(DataKeys.Wrapped(recipient, context)),
        kept.opener.isKey(of: parsed),
        (try? Self.checkCompromised(kept.version, allowed: allowCompromised)) != nil,
        (try? checkMayUnwrap(kept.version)) != nil
      else { continue }
      event.note(kept.version)
      event.cached = true
      return try kept.opener.open(parsed, context: context)
    }
    var isCached = false
    let opening = try await firstThatOpens(
      parsed, allowCompromised: allowCompromised, access: access, event: &event
    ) { recipient, version, provider in
      let aad = EncryptMessage.recipientAAD(context)
      let found = try await dataKeys.opening.key(for: DataKeys.Wrapped(recipient, context), limits: limits) {
        let cek = try await provider.unwrap(recipient.wrapped, under: version.id, aad: aad)
        return OpeningKey(opener: try FieldOpener(cek: cek), version: version)
      }
      guard found.key.opener.isKey(of: parsed) else { throw Self.anotherKey(version) }
      isCached = found.isCached
      return found.key
    }
    event.cached = isCached
    return try opening.opener.open(parsed, context: context)
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

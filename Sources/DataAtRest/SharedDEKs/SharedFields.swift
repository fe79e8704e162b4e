internal import AccessLog
internal import Envelope
internal import KMSCore

/// Fields under a DEK that a partition shares (docs/envelope-format.md, section 3). This process makes DEKs of its own
/// and encrypts under no other; it opens fields under all that are in the store.
extension DataAtRestManager {
  func sharedSealingKey(
    of partition: String, key: KeyName, bytes: Int, access: Access, event: inout AccessEvent
  ) async throws -> SealingKey {
    let limits = configuration.sharedDEKs
    guard bytes <= limits.maxBytes else {
      throw KMSError(
        .limitExceeded,
        "a shared DEK encrypts \(limits.maxBytes) bytes at most (shared-deks.max-bytes), this has \(bytes)",
        advice: "Encrypt it without a partition.")
    }
    let share = DataKeys.Share(key: key, partition: partition)
    return try await kept(in: dataKeys.sharedSealing, share, .empty, bytes: bytes, limits, &event) {
      try await self.makeSharedKey(share, partition, limits, access)
    }
  }

  private func makeSharedKey(
    _ share: DataKeys.Share, _ partition: String, _ limits: CacheLimits, _ access: Access
  ) async throws -> SealingKey {
    guard let dekStore else {
      throw KMSError(
        .configurationInvalid, "there is no store for shared DEKs",
        advice: "Open the manager with one: DataAtRestManager.open(.load(), dekStore: SQLiteDEKStore(\"deks.sqlite\"))."
      )
    }
    let context = try StoredDEK.context(partition: partition)
    var access = access
    access.take(context)
    let dek = ContentKey.random(for: .sharedField)
    let cek = SecretBytes.random(count: 32)
    let (recipients, version) = try await recipients(for: cek, key: share.key, context: context, access: access)
    let blob = try dek.encoded().withBytes {
      try EncryptMessage.seal($0, as: .keyBlob, context: context, cek: cek, recipients: recipients)
    }
    // What is encrypted under it is given out once it is kept.
    try await dekStore.add(StoredDEK(id: dek.id, partition: partition, blob: blob.encoded()))
    return SealingKey(share, sealer: try FieldSealer(dek: dek), version: version, context: nil, limits: limits)
  }

  /// The parts of a field under a shared DEK that the store has, and the DEK.
  func sharedKey(
    of message: [UInt8], allowCompromised: Bool, access: Access, event: inout AccessEvent
  ) async throws -> (parts: FieldParts, key: OpeningKey)? {
    guard let parts = FieldParts(of: message.span), parts.isShared,
      let key = try await sharedOpeningKey(
        of: message, parts, allowCompromised: allowCompromised, access: access, event: &event)
    else { return nil }
    return (parts, key)
  }

  /// The DEK that a field names, unwrapped now or before; nil when the store does not have it.
  private func sharedOpeningKey(
    of message: [UInt8], _ parts: FieldParts, allowCompromised: Bool, access: Access, event: inout AccessEvent
  ) async throws -> OpeningKey? {
    guard let dekStore else { return nil }
    let id = Array(message[parts.name])
    let alike = DataKeys.Alike(message, parts, context: nil)
    if let kept = keptKey(
      in: dataKeys.sharedOpening, DataKeys.Shared(id: id, recipient: 0), message, alike, allowCompromised, &event)
    {
      return kept
    }
    guard let stored = try await dekStore.find(id) else { return nil }
    let blob = try EncryptMessage(parsing: stored.blob, as: .keyBlob)
    let context = try StoredDEK.context(partition: stored.partition)
    var taken = access
    taken.take(context)
    let access = taken
    var isCached = false
    let opening = try await firstThatOpens(
      blob, allowCompromised: allowCompromised, access: access, event: &event
    ) { recipient, version, provider in
      let i = blob.recipients.firstIndex(of: recipient) ?? 0
      // Since it was kept, the blob may have been rewrapped for another version.
      let found = try await dataKeys.sharedOpening.key(
        for: DataKeys.Shared(id: id, recipient: i), limits: configuration.sharedDEKs,
        isSpent: { $0.version.id != version.id }
      ) {
        let cek = try await provider.unwrap(
          recipient.wrapped, under: version.id, aad: EncryptMessage.recipientAAD(context))
        let dek = try ContentKey(parsing: blob.open(with: cek, context: context))
        let isNamed = dek.id == id
        guard isNamed else {
          throw KMSError(
            .doesNotOpen, "the store has another key under the id of DEK \(stored.hexID)",
            advice: "The store was changed; take a good copy.", provider: version.provider,
            key: version.key.description)
        }
        return OpeningKey(opener: try FieldOpener(dek: dek), version: try await self.known(version, access: access))
      }
      try Self.checkCompromised(found.key.version, allowed: allowCompromised)
      isCached = found.isCached
      return found.key
    }
    event.cached = isCached
    return opening
  }
}

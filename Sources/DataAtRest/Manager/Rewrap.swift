internal import AccessLog
public import Envelope
internal import KMSCore

/// Rewrap: the same body for the current key versions. It does not revoke: an old copy opens with the old KEK.
extension DataAtRestManager {
  /// Replaces the recipients of a field whose key versions are no longer current.
  ///
  /// - Parameter context: needed by recipients that authenticate it (A256GCM); others open without.
  /// - Returns: the new message, or nil when there is nothing to do. The body's bytes are the same.
  public func rewrap(
    _ message: [UInt8], context: EncryptionContext = .empty, principal: String? = nil
  ) async throws -> [UInt8]? {
    let kind = EnvelopeKind.detect(message)
    return try await rewrap(
      EncryptMessage(parsing: message, as: kind == .keyBlob ? .keyBlob : .field), context: context,
      access: Access(principal: principal, contextNames: context.names))?.encoded()
  }

  func rewrap(
    _ message: EncryptMessage, context: EncryptionContext, access: Access
  ) async throws -> EncryptMessage? {
    _ = try enabledConfiguration()
    var targets: [KeyVersion?] = []  // nil: not ours, kept as it is
    for recipient in message.recipients {
      guard let old = try await directory.version(recipient.kid, access: access) else {
        targets.append(nil)
        continue
      }
      targets.append(try await directory.current(of: old.key, purpose: .wrap, access: access))
    }
    guard targets.contains(where: { $0 != nil }) else { throw notOursForRewrap(message) }
    guard zip(message.recipients, targets).contains(where: { $0.kid != ($1?.id ?? $0.kid) }) else { return nil }

    var recipients: [Recipient] = []
    for (recipient, target) in zip(message.recipients, targets) {
      guard let target, target.id != recipient.kid else {
        recipients.append(recipient)
        continue
      }
      guard !recipients.contains(where: { $0.kid == target.id }) else { continue }
      recipients.append(
        Recipient(
          kid: target.id,
          wrapped: try await rewrappedKey(of: message, for: target, context: context, access: access)))
    }
    return try message.replacing(recipients: recipients)
  }

  /// The content key wrapped for `target`, through the first recipient that opens. Checked before it is used.
  private func rewrappedKey(
    of message: EncryptMessage, for target: KeyVersion, context: EncryptionContext, access: Access
  ) async throws -> WrappedKey {
    let aad = EncryptMessage.recipientAAD(context)
    let provider = try providers.provider(target.provider, access: access, key: target.key)
    for recipient in message.recipients where provider.rewrapsInside {
      guard let old = try await directory.version(recipient.kid, access: access), old.provider == target.provider
      else { continue }
      do {
        return try await provider.rewrap(
          recipient.wrapped, from: old.id, to: target.id, thumbprint: message.thumbprint, aad: aad)
      } catch let error as KMSError where error.code == .notSupported { break }
    }
    var event = AccessEvent(.rewrap, access: access)
    let cek = try await contentKey(
      of: message, context: context, allowCompromised: true, access: access, event: &event)
    let wrapped = try await provider.wrap(cek, under: target.id, aad: aad)
    let back = try await provider.unwrap(wrapped, under: target.id, aad: aad)
    let same = back.equals(cek)
    guard same else { throw Self.anotherKey(target) }
    return wrapped
  }

  private func notOursForRewrap(_ message: EncryptMessage) -> KMSError {
    directory.failure
      ?? KMSError(
        .notOurs, "no configured provider holds a key for this envelope",
        advice: "Configure the provider that holds it; 'strongroom inspect' shows what an envelope needs.")
  }
}

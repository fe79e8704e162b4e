internal import AccessLog
public import Envelope
internal import KMSCore

/// Rewrap: the same body for other key versions. It does not revoke: an old copy opens with the old KEK.
extension DataAtRestManager {
  /// Replaces the recipients of an envelope that are not as `goal` wants them. The body's bytes stay the same.
  ///
  /// - Parameters:
  ///   - message: a field, a key blob, or the header of a file.
  ///   - context: needed where a recipient that is there or is to be made authenticates it (A256GCM); the others open
  ///     without.
  /// - Returns: the new message, or nil when there is nothing to do.
  /// - Throws: ``KMSError/Code/doesNotOpen`` where a recipient would get a context that is not the message's.
  public func rewrap(
    _ message: [UInt8], for goal: RewrapGoal = .current, context: EncryptionContext = .empty,
    principal: String? = nil
  ) async throws -> [UInt8]? {
    let parsed = try RewrappableMessage(parsing: message)
    let access = Access(principal: principal, context: context)
    let new = try await newRecipients(of: parsed.message, for: goal, context: context, access: access)
    return try new.map { try parsed.replacing(recipients: $0) }
  }

  /// The recipients that a message should have, or nil when it has them. Where a key was rotated since the directory
  /// was read, they are planned anew.
  func newRecipients(
    of message: EncryptMessage, for goal: RewrapGoal, context: EncryptionContext, access: Access
  ) async throws -> [Recipient]? {
    var plan = try await plan(message, goal, access: access)
    while let newest = plan.newestTarget {
      do {
        var wrapped: [KeyVersionID: WrappedKey] = [:]
        for target in plan.targets {
          wrapped[target.id] = try await rewrappedKey(of: message, for: target, context: context, access: access)
        }
        return plan.recipients(wrapped)
      } catch let error as KMSError where error.code == .keyStateForbids || error.code == .keyNotFound {
        directory.invalidate()
        plan = try await self.plan(message, goal, access: access)
        guard plan.newestTarget.map({ newest < $0 }) ?? true else { throw error }  // so it ends
      }
    }
    return nil
  }

  /// The content key wrapped for `target`, through the first recipient that opens. Checked before it is used.
  func rewrappedKey(
    of message: EncryptMessage, for target: KeyVersion, context: EncryptionContext, access: Access
  ) async throws -> WrappedKey {
    let aad = EncryptMessage.recipientAAD(context)
    try checkWillUnwrap(target)
    let provider = try providers.provider(target.provider, access: access, key: target.key)
    var failure: KMSError?
    if let (recipient, old) = try await sourceInside(of: message, for: target, access: access) {
      do {
        let wrapped = try await provider.rewrap(
          recipient.wrapped, from: old.id, to: target.id, thumbprint: message.thumbprint, aad: aad)
        if Self.provesContext(recipient.wrapped, wrapped) { return wrapped }
      } catch let error as KMSError where error.code != .accessLogUnavailable {
        // Another recipient may be good.
        if error.code != .notSupported { failure = error }
        guard error.code == .notSupported || message.recipients.count > 1 else { throw error }
      }
    }
    var event = AccessEvent(.rewrap, access: access)
    let cek: SecretBytes
    do {
      cek = try await contentKey(of: message, context: context, allowCompromised: true, access: access, event: &event)
    } catch let error as KMSError where error.code != .accessLogUnavailable { throw failure ?? error }
    let wrapped = try await provider.wrap(cek, under: target.id, aad: aad)
    // It will open with this context alone: which is to be the message's, and no recipient may have shown that.
    if wrapped.algorithm == .a256GCM { try Self.check(context, isThatOf: message, cek) }
    guard target.purpose == .wrap else { return wrapped }  // nobody here can open what is wrapped for recovery
    let back = try await provider.unwrap(wrapped, under: target.id, aad: aad)
    let same = back.equals(cek)
    guard same else { throw Self.anotherKey(target) }
    return wrapped
  }

  private static func check(
    _ context: EncryptionContext, isThatOf message: EncryptMessage, _ cek: borrowing SecretBytes
  ) throws {
    do { _ = try message.open(with: cek, context: context) } catch let error as KMSError
      where error.code == .doesNotOpen
    {
      throw KMSError(
        .doesNotOpen, "the context is not the one that this was encrypted with, and the new recipient would bind it",
        advice: "Give the same context as for encryption; it was left as it is.")
    }
  }

  /// Whether the context is known to be the message's, where `new` opens with it alone: `old` would not have opened
  /// with another.
  static func provesContext(_ old: WrappedKey, _ new: WrappedKey) -> Bool {
    new.algorithm != .a256GCM || old.algorithm == .a256GCM
  }

  /// The recipient from which the provider can rewrap inside, where it can.
  func sourceInside(
    of message: EncryptMessage, for target: KeyVersion, access: Access
  ) async throws -> (Recipient, KeyVersion)? {
    guard try providers.provider(target.provider, access: access, key: target.key).rewrapsInside else { return nil }
    for recipient in message.recipients {
      guard let old = try await directory.version(recipient.kid, access: access), old.provider == target.provider,
        old.purpose == .wrap, (try? checkMayUnwrap(old)) != nil  // another may do; if none does, `contentKey` says why
      else { continue }
      return (recipient, old)
    }
    return nil
  }
}

/// A message with recipients, by itself or as the header of a file.
struct RewrappableMessage {
  let message: EncryptMessage
  private let headerSize: Int?

  init(parsing bytes: [UInt8]) throws {
    switch EnvelopeKind.detect(bytes) {
    case .file:
      let header = try FileHeader(startOf: bytes)
      message = header.keyBlob
      headerSize = header.size
    case .keyBlob:
      message = try EncryptMessage(parsing: bytes, as: .keyBlob)
      headerSize = nil
    case .encrypt0:
      _ = try Encrypt0Message(parsing: bytes)
      throw KMSError(
        .notSupported, "this message has no recipients: it is under a shared key, or was encrypted by the provider",
        advice: "Rewrap the shared key's blob; 'strongroom reencrypt' gives what a provider encrypted a new key.")
    case .field, nil:
      message = try EncryptMessage(parsing: bytes, as: .field)
      headerSize = nil
    }
  }

  func replacing(recipients: [Recipient]) throws -> [UInt8] {
    let new = try message.replacing(recipients: recipients)
    return try headerSize.map { try FileHeader(keyBlob: new, size: $0).encoded() } ?? new.encoded()
  }
}

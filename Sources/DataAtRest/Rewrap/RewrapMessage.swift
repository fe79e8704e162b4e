internal import AccessLog
public import Envelope
internal import KMSCore

/// Rewrap: the same body for other key versions. It does not revoke: an old copy opens with the old KEK.
extension DataAtRestManager {
  /// Replaces the recipients of an envelope that are not as `goal` wants them. The body's bytes stay the same.
  ///
  /// - Parameters:
  ///   - message: a field, a key blob, or the header of a file.
  ///   - context: needed by recipients that authenticate it (A256GCM); others open without.
  /// - Returns: the new message, or nil when there is nothing to do.
  public func rewrap(
    _ message: [UInt8], for goal: RewrapGoal = .current, context: EncryptionContext = .empty,
    principal: String? = nil
  ) async throws -> [UInt8]? {
    let parsed = try RewrappableMessage(parsing: message)
    let access = Access(principal: principal, contextNames: context.names)
    let new = try await newRecipients(of: parsed.message, for: goal, context: context, access: access)
    return try new.map { try parsed.replacing(recipients: $0) }
  }

  /// The recipients that a message should have, or nil when it has them.
  func newRecipients(
    of message: EncryptMessage, for goal: RewrapGoal, context: EncryptionContext, access: Access
  ) async throws -> [Recipient]? {
    _ = try enabledConfiguration()
    let plan = try await plan(message, goal, access: access)
    guard plan.contains(where: { if case .wrap = $0 { true } else { false } }) else { return nil }
    var recipients: [Recipient] = []
    for step in plan {
      switch step {
      case .keep(let recipient): recipients.append(recipient)
      case .wrap(let target):
        recipients.append(
          Recipient(
            kid: target.id,
            wrapped: try await rewrappedKey(of: message, for: target, context: context, access: access)))
      }
    }
    return recipients
  }

  private enum Step {
    case keep(Recipient)
    case wrap(KeyVersion)

    var kid: KeyVersionID {
      switch self {
      case .keep(let recipient): recipient.kid
      case .wrap(let version): version.id
      }
    }
  }

  /// What becomes of each recipient. Those of providers that are not configured stay as they are.
  private func plan(_ message: EncryptMessage, _ goal: RewrapGoal, access: Access) async throws -> [Step] {
    var steps: [Step] = []
    var ours = 0
    for recipient in message.recipients {
      let version = try await directory.version(recipient.kid, access: access)
      if version != nil { ours += 1 }
      guard let version, let target = try await target(for: version, goal, access: access), target.id != version.id
      else {
        steps.append(.keep(recipient))
        continue
      }
      steps.append(.wrap(target))
    }
    guard ours > 0 else { throw notOurs(message) }
    let wanted = try await recoveryVersions(access: access).filter { version in
      !message.recipients.contains { $0.kid == version.id }
    }
    steps += wanted.map(Step.wrap)
    // Two that become one, and one that is there already.
    var seen: Set<KeyVersionID> = []
    let kept = Set(steps.compactMap { if case .keep(let recipient) = $0 { recipient.kid } else { nil } })
    return steps.filter { step in
      if case .wrap(let version) = step, kept.contains(version.id) { return false }
      return seen.insert(step.kid).inserted
    }
  }

  /// Nil: it stays under the version that it is under.
  private func target(
    for version: KeyVersion, _ goal: RewrapGoal, access: Access
  ) async throws -> KeyVersion? {
    switch goal {
    case .current:
      if configuration.recoveryRecipients.contains(version.key) {
        return try await directory.recovery(of: version.key, access: access)
      }
      // A recovery key that is not configured any more: its recipient stays, nobody can say what still needs it.
      guard version.purpose != .recovery else { return nil }
      return try await directory.current(of: version.key, purpose: .wrap, access: access)
    case .provider(let name, let source):
      guard version.provider == source else { return nil }
      return try await directory.current(of: version.key, in: name, access: access)
    }
  }

  /// The content key wrapped for `target`, through the first recipient that opens. Checked before it is used.
  private func rewrappedKey(
    of message: EncryptMessage, for target: KeyVersion, context: EncryptionContext, access: Access
  ) async throws -> WrappedKey {
    let aad = EncryptMessage.recipientAAD(context)
    try checkMayUnwrap(target)
    let provider = try providers.provider(target.provider, access: access, key: target.key)
    for recipient in message.recipients where provider.rewrapsInside {
      guard let old = try await directory.version(recipient.kid, access: access), old.provider == target.provider,
        old.purpose == .wrap
      else { continue }
      try checkMayUnwrap(old)
      do {
        return try await provider.rewrap(
          recipient.wrapped, from: old.id, to: target.id, thumbprint: message.thumbprint, aad: aad)
      } catch let error as KMSError where error.code == .notSupported { break }
    }
    var event = AccessEvent(.rewrap, access: access)
    let cek = try await contentKey(
      of: message, context: context, allowCompromised: true, access: access, event: &event)
    let wrapped = try await provider.wrap(cek, under: target.id, aad: aad)
    guard target.purpose == .wrap else { return wrapped }  // nobody here can open what is wrapped for recovery
    let back = try await provider.unwrap(wrapped, under: target.id, aad: aad)
    let same = back.equals(cek)
    guard same else { throw Self.anotherKey(target) }
    return wrapped
  }
}

/// What a rewrap aims at.
public enum RewrapGoal: Sendable, Hashable {
  /// The current version of each recipient's key; missing recovery recipients are added.
  case current
  /// The current versions that another provider has of the same keys, for what is under `leaving`'s.
  case provider(_ name: String, leaving: String)
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

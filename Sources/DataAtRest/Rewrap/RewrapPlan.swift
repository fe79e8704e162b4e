internal import Envelope
internal import KMSCore

/// What a rewrap aims at.
public enum RewrapGoal: Sendable, Hashable {
  /// The current version of each recipient's key; missing recovery recipients are added.
  case current
  /// The current versions that another provider has of the same keys, for what is under `leaving`'s.
  case provider(_ name: String, leaving: String)
}

/// What becomes of a message's recipients.
struct RewrapPlan {
  enum Step {
    case keep(Recipient)
    case wrap(KeyVersion)

    var kid: KeyVersionID {
      switch self {
      case .keep(let recipient): recipient.kid
      case .wrap(let version): version.id
      }
    }
  }

  let steps: [Step]

  /// The versions that the content key is to be wrapped under. None: there is nothing to do.
  var targets: [KeyVersion] { steps.compactMap { if case .wrap(let version) = $0 { version } else { nil } } }

  /// Nil: there is nothing to do.
  var newestTarget: KeyVersionID? { targets.map(\.id).max() }

  /// - Parameter wrapped: the content key as wrapped under each of ``targets``.
  func recipients(_ wrapped: [KeyVersionID: WrappedKey]) -> [Recipient] {
    steps.compactMap { step in
      switch step {
      case .keep(let recipient): recipient
      case .wrap(let version): wrapped[version.id].map { Recipient(kid: version.id, wrapped: $0) }
      }
    }
  }
}

extension DataAtRestManager {
  /// What becomes of each recipient. Those of providers that are not configured stay as they are.
  func plan(_ message: EncryptMessage, _ goal: RewrapGoal, access: Access) async throws -> RewrapPlan {
    _ = try enabledConfiguration()
    var steps: [RewrapPlan.Step] = []
    var ours = 0
    for recipient in message.recipients {
      let version = try await directory.version(recipient.kid, access: access)
      if version != nil {
        ours += 1
      } else if let failure = directory.failure {
        throw failure  // it may be of the provider that could not be asked
      }
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
    steps += wanted.map(RewrapPlan.Step.wrap)
    // Two that become one, and one that is there already.
    var seen: Set<KeyVersionID> = []
    let kept = Set(steps.compactMap { if case .keep(let recipient) = $0 { recipient.kid } else { nil } })
    return RewrapPlan(
      steps: steps.filter { step in
        if case .wrap(let version) = step, kept.contains(version.id) { return false }
        return seen.insert(step.kid).inserted
      })
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
      if configuration.recoveryRecipients.contains(version.key) {
        let newest = try await directory.recovery(of: version.key, access: access)
        return newest.provider == source ? nil : newest
      }
      guard version.purpose == .wrap else { return nil }
      return try await directory.current(of: version.key, in: name, access: access)
    }
  }
}

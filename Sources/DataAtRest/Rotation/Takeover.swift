internal import AccessLog
internal import Envelope
internal import KMSCore

/// The steps by which a key is left to another version. Each can be the last before a crash, and another process may
/// take the same steps at the same time.
struct Takeover: Sendable {
  let key: KeyName
  let providers: ProviderSet
  let directory: KeyDirectory
  let access: Access
  let reason: String
  /// The one that makes new versions.
  let provider: AccessLoggedProvider

  /// All of the key, in every provider, as they are now.
  func versions() async throws -> [KeyVersion] {
    directory.invalidate()
    return try await directory.reachable(access: access).filter { $0.key == key }
  }

  func current(_ versions: [KeyVersion]) -> KeyVersion? {
    versions.filter { $0.provider == providers.primaryName }.current
  }

  /// Tries `version` and deactivates every active one before it.
  ///
  /// - Parameter before: the key's versions without it, or before it was taken up.
  /// - Returns: the current version: another process' where that is newer.
  func hand(over version: KeyVersion, from before: [KeyVersion]) async throws -> KeyVersion {
    do { try await tryOut(version) } catch {
      if let newer = try? await newerThan(version) { return newer }
      await undo(version, from: before)
      throw error
    }
    // Listed again: another process may have made a version meanwhile. Only what was tried here replaces others.
    let versions = try await versions()
    var winner = version
    if let newest = current(versions), version.id < newest.id, (try? await tryOut(newest)) != nil { winner = newest }
    for old in versions where old.state == .active && old.id < winner.id {
      _ = try await providers.provider(old.provider, access: access, key: key, reason: reason)
        .setState(.deactivated, of: old.id)
    }
    return winner
  }

  /// The current version, if another process has meanwhile made it and deactivated `version` in its favour.
  private func newerThan(_ version: KeyVersion) async throws -> KeyVersion? {
    let versions = try await versions()
    guard let current = current(versions), version.id < current.id,
      versions.contains(where: { $0.id == version.id && $0.state == .deactivated })
    else { return nil }
    return current
  }

  /// The versions before go on serving. What fails here, the next run finds and finishes.
  private func undo(_ version: KeyVersion, from before: [KeyVersion]) async {
    let state = (try? await versions())?.first { $0.id == version.id }?.state ?? .active
    guard state == .active else { return }  // somebody has seen to it
    let previous = before.filter { $0.state == .active && $0.id != version.id }.current
    guard (try? await provider.setState(.deactivated, of: version.id)) != nil,
      let previous, let now = try? await versions(), !now.contains(where: { $0.state == .active }),
      now.contains(where: { $0.id == previous.id && $0.state == .deactivated })
    else { return }
    // Another process had already deactivated it in favour of the version that does not work.
    _ = try? await providers.provider(previous.provider, access: access, key: key, reason: reason)
      .setState(.active, of: previous.id)
  }

  /// One use and its reverse, before anything is left to a version.
  private func tryOut(_ version: KeyVersion) async throws {
    let probe = SecretBytes.random(count: 32)
    let back: SecretBytes
    switch version.purpose {
    case .wrap:
      let aad = EncryptMessage.recipientAAD(.empty)
      back = try await provider.unwrap(
        try await provider.wrap(probe, under: version.id, aad: aad), under: version.id, aad: aad)
    case .encrypt:
      let aad = Encrypt0Message.authenticatedData(.empty)
      let plaintext = probe.unprotectedCopy()
      let sealed = try await provider.encrypt(plaintext.span, under: version.id, aad: aad)
      back = try await provider.decrypt(sealed, under: version.id, aad: aad)
    case .recovery:
      throw Self.recoveryKeyDoesNotRotate(key)
    }
    let same = back.equals(probe)
    guard same else {
      throw KMSError(
        .tokenNotTrustworthy, "the new key version \(version.id) does not give back what it wrapped",
        advice: "It was deactivated. Check the token with 'strongroom doctor' before you rotate again.",
        provider: version.provider, key: version.key.description)
    }
  }

  static func recoveryKeyDoesNotRotate(_ key: KeyName) -> KMSError {
    KMSError(
      .keyPurposeForbids, "'\(key)' is a recovery key: nobody would have a copy of a version that is made here",
      advice: "Make another with 'strongroom recovery create', and name it under recovery-recipients.",
      key: key.description)
  }
}

internal import AccessLog
internal import Envelope
public import KMSCore

extension DataAtRestManager {
  /// Makes a new version of a key, tries it, and deactivates the ones before.
  ///
  /// Data stays readable throughout. A crash between two steps leaves a key that works, and the next rotation
  /// goes on from there: versions other than the newest that are still active are deactivated then.
  /// - Parameter reason: for the log: `scheduled`, `manual`, an incident's number ….
  /// - Returns: the new current version.
  @discardableResult
  public func rotate(_ key: KeyName, reason: String, principal: String? = nil) async throws -> KeyVersion {
    let access = Access(principal: principal ?? Access.currentPrincipal)
    try await reporter.report(AccessEvent(.rotate, phase: .intent, key: key, access: access, reason: reason))
    defer { directory.invalidate() }
    return try await logged(.rotate, access) { event in
      event.key = key
      event.reason = reason
      let new = try await makeNextVersion(of: key, reason: reason, access: access)
      event.version = new.id
      event.provider = new.provider
      return new
    }
  }

  private func makeNextVersion(of key: KeyName, reason: String, access: Access) async throws -> KeyVersion {
    let old = try await keyVersions(of: key, principal: access.principal)
    guard let newest = old.last else {
      throw KMSError(
        .keyNotFound, "there is no key '\(key)'", advice: "Create it with 'strongroom key create \(key)'.",
        key: key.description)
    }
    guard newest.purpose != .recovery else { throw Self.recoveryKeyDoesNotRotate(key) }
    let why = "rotation: \(reason)"
    let provider = try providers.provider(providers.primaryName, access: access, key: key, reason: why)
    let new = try await provider.createKeyVersion(
      NewKeyVersion(key: key, purpose: newest.purpose, id: .make(after: newest.id)))
    directory.invalidate()
    do { try await tryOut(new, with: provider) } catch {
      // The version before goes on serving. Should this fail as well, the next rotation meets an active version.
      _ = try? await provider.setState(.deactivated, of: new.id)
      throw error
    }
    for version in old where version.state == .active {
      _ = try await providers.provider(version.provider, access: access, key: key, reason: why)
        .setState(.deactivated, of: version.id)
    }
    directory.invalidate()
    return new
  }

  private static func recoveryKeyDoesNotRotate(_ key: KeyName) -> KMSError {
    KMSError(
      .keyPurposeForbids, "'\(key)' is a recovery key: nobody would have a copy of a version that is made here",
      advice: "Make another with 'strongroom recovery create', and name it under recovery-recipients.",
      key: key.description)
  }

  /// One use and its reverse, before anything is left to a new version.
  private func tryOut(_ version: KeyVersion, with provider: AccessLoggedProvider) async throws {
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
      throw Self.recoveryKeyDoesNotRotate(version.key)
    }
    let same = back.equals(probe)
    guard same else {
      throw KMSError(
        .tokenNotTrustworthy, "the new key version \(version.id) does not give back what it wrapped",
        advice: "It was deactivated. Check the token with 'strongroom doctor' before you rotate again.",
        provider: version.provider, key: version.key.description)
    }
  }
}

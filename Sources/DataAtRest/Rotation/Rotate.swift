internal import AccessLog
public import KMSCore

extension DataAtRestManager {
  /// Makes a new version of a key, tries it, and deactivates the ones before.
  ///
  /// Data stays readable throughout, and two processes may rotate at once: they end with one current version. A
  /// crash between two steps leaves a key that works; ``rotateDue(reason:dryRun:now:principal:)`` and the next
  /// rotation finish what was begun.
  /// - Parameter reason: for the log: `scheduled`, `manual`, an incident's number ….
  /// - Returns: the new current version.
  @discardableResult
  public func rotate(_ key: KeyName, reason: String, principal: String? = nil) async throws -> KeyVersion {
    try await loggedRotation(of: key, reason: reason, principal: principal) { takeover in
      let versions = try await takeover.versions()
      guard let newest = versions.last else {
        throw directory.failure
          ?? KMSError(
            .keyNotFound, "there is no key '\(key)'", advice: "Create it with 'strongroom key create \(key)'.",
            key: key.description)
      }
      guard newest.purpose != .recovery else { throw Takeover.recoveryKeyDoesNotRotate(key) }
      let new = try await takeover.provider.createKeyVersion(
        NewKeyVersion(key: key, purpose: newest.purpose, id: .make(after: newest.id)))
      return try await takeover.hand(over: new, from: versions)
    }
  }

  /// Takes up a rotation that was cut off: the newest active version is tried, then the ones before are deactivated.
  /// Should it not work, it is deactivated, and the version before serves as it did.
  func finishRotation(of key: KeyName, reason: String, principal: String?) async throws -> KeyVersion {
    try await loggedRotation(of: key, reason: "finishing what was cut off: \(reason)", principal: principal) {
      takeover in
      let versions = try await takeover.versions()
      guard let current = takeover.current(versions) else {
        throw KMSError(
          .keyStateForbids, "key '\(key)' has no active version any more",
          advice: "Make one with 'strongroom key rotate \(key)', or activate one.", key: key.description)
      }
      return try await takeover.hand(over: current, from: versions)
    }
  }

  /// Logs `body` as a rotation: its intent before, its outcome after.
  private func loggedRotation(
    of key: KeyName, reason: String, principal: String?, _ body: (Takeover) async throws -> KeyVersion
  ) async throws -> KeyVersion {
    let access = Access(principal: principal ?? Access.currentPrincipal)
    let takeover = Takeover(
      key: key, providers: providers, directory: directory, access: access, reason: "rotation: \(reason)",
      provider: try providers.provider(
        providers.primaryName, access: access, key: key, reason: "rotation: \(reason)"))
    try await reporter.report(AccessEvent(.rotate, phase: .intent, key: key, access: access, reason: reason))
    defer { directory.invalidate() }
    do {
      let version = try await logged(.rotate, access) { event in
        event.key = key
        event.reason = reason
        let version = try await body(takeover)
        event.version = version.id
        event.provider = version.provider
        return version
      }
      rotationMemory.note(key, success: true, at: .now())
      return version
    } catch let error as KMSError {
      rotationMemory.note(key, success: false, at: .now())
      throw error
    }
  }
}

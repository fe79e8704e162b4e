internal import AccessLog
internal import Envelope
public import KMSCore

/// Making, listing and retiring keys.
extension DataAtRestManager {
  /// Every key version of every provider, or of one key; oldest first.
  public func keyVersions(of key: KeyName? = nil, principal: String? = nil) async throws -> [KeyVersion] {
    let all = try await directory.all(access: Access(principal: principal))
    return key.map { key in all.filter { $0.key == key } } ?? all
  }

  /// Every key version of the providers that can be asked, oldest first, and the failures of the others by name.
  package func reachableKeyVersions(
    principal: String? = nil
  ) async throws -> (versions: [KeyVersion], unreachable: [String: KMSError]) {
    let (versions, failures) = try await directory.known(access: Access(principal: principal))
    return (versions, Dictionary(failures.map { ($0.provider, $0.error) }) { first, _ in first })
  }

  /// Makes a key with its first version, in the provider that makes new ones.
  ///
  /// - Throws: ``KMSError/Code/duplicateKeyVersion`` when a key of that name is there already.
  @discardableResult
  public func createKey(
    _ key: KeyName, purpose: KeyPurpose = .wrap, principal: String? = nil
  ) async throws -> KeyVersion {
    let access = Access(principal: principal)
    let request = NewKeyVersion(key: key, purpose: purpose)
    try InputRules.checkCreation(request)
    guard try await keyVersions(of: key, principal: principal).isEmpty else {
      throw KMSError(
        .duplicateKeyVersion, "there is a key '\(key)' already",
        advice: "To make a new version of it, run 'strongroom key rotate \(key)'.", key: key.description)
    }
    let provider = try providers.provider(providers.primaryName, access: access, key: key, reason: "new key")
    let version = try await provider.createKeyVersion(request)
    directory.invalidate()
    return version
  }

  /// Moves a version to another state. The provider refuses what ``KeyState/successors`` does not list.
  @discardableResult
  public func setState(
    _ state: KeyState, of id: KeyVersionID, reason: String, principal: String? = nil
  ) async throws -> KeyVersion {
    let access = Access(principal: principal)
    guard state != .destroyed else {
      throw KMSError(
        .invalidInput, "a key version is not destroyed by a change of its state",
        advice: "Use 'destroy', which asks for a census or a word that data may be lost.")
    }
    guard let version = try await directory.version(id, access: access) else {
      throw directory.failure
        ?? KMSError(.keyNotFound, "there is no key version \(id)", advice: "'strongroom key list' shows them.")
    }
    let provider = try providers.provider(version.provider, access: access, key: version.key, reason: reason)
    defer { directory.invalidate() }  // also when it was changed and only the log took no outcome
    return try await provider.setState(state, of: id)
  }

  /// Whether the key's current version is older than the rotation interval.
  public func isRotationDue(_ key: KeyName, principal: String? = nil) async throws -> Bool {
    let purpose = try await purpose(of: key)
    guard purpose != .recovery else { return false }
    let current = try await directory.current(of: key, purpose: purpose, access: Access(principal: principal))
    let now = Timestamp.now()
    guard current.isDatedAhead(of: now) else {
      return current.isDue(interval: configuration.keyRotationInterval, now: now)
    }
    let plan = try await rotationPlans(now: now, principal: principal).first { $0.key == key }
    return plan.map { $0.standing != .notDue } ?? false
  }

  func purpose(of key: KeyName) async throws -> KeyPurpose {
    try await keyVersions(of: key).last?.purpose ?? .wrap
  }
}

extension KeyVersion {
  /// Whether a current version of this age is due for rotation. An adopted one, whose age nobody knows, is; a
  /// recovery key, which does not rotate, is not.
  ///
  /// The age of one that is dated ahead is not known either, but may be known of its rotation: see
  /// ``DataAtRestManager/rotationPlans(now:principal:)``.
  public func isDue(interval: Duration, now: Timestamp) -> Bool {
    guard purpose != .recovery else { return false }
    return id.created.map { now.since($0) >= interval } ?? true
  }

  /// Whether its id tells a time more than an hour to come: a node's clock was wrong, or somebody else made the id.
  public func isDatedAhead(of now: Timestamp) -> Bool {
    id.created.map { $0 > now.advanced(by: .seconds(3600)) } ?? false
  }
}

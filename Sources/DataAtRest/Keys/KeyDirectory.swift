internal import AccessLog
internal import KMSCore
internal import Synchronization

/// Which key versions there are and which provider holds each: the providers' own lists, remembered for some
/// seconds, so that other nodes' rotations and state changes are seen soon and a wrap needs no list call.
final class KeyDirectory: Sendable {
  private struct Content {
    var versions: [KeyVersionID: KeyVersion] = [:]
    var current: [KeyName: KeyVersion] = [:]
    /// What may stand as a recovery recipient, in whatever provider.
    var recovery: [KeyName: KeyVersion] = [:]
    /// Providers that could not be asked: a miss may be theirs.
    var failures: [(provider: String, error: KMSError)] = []
    var primaryFailure: KMSError?
    var loaded: ContinuousClock.Instant?
    /// How long it is good for.
    var age = Duration.zero
    /// Counts invalidations: a list that was asked for before one is not taken for fresh after it.
    var generation = 0
    /// Lists are numbered as they are asked for: one that comes late does not replace a newer one.
    var number = 0
    var lastNumber = 0
  }

  private let providers: ProviderSet
  private let maxAge: Duration
  private let loading = SharedWork<Void>()
  private let content = Mutex(Content())
  /// What else must be forgotten then.
  private let onInvalidate: @Sendable () -> Void

  init(
    _ providers: ProviderSet, maxAge: Duration = .seconds(5), onInvalidate: @escaping @Sendable () -> Void = {}
  ) {
    self.providers = providers
    self.maxAge = maxAge
    self.onInvalidate = onInvalidate
  }

  /// The version that new data of `key` is wrapped under.
  func current(of key: KeyName, purpose: KeyPurpose, access: Access) async throws -> KeyVersion {
    guard let version = try await find(access, { $0.current[key] }) else { throw missing(key: key) }
    guard version.purpose == purpose else {
      throw KMSError(
        .keyPurposeForbids, "key '\(key)' is for \(version.purpose.rawValue), not for \(purpose.rawValue)",
        advice: purpose == .encrypt
          ? "With envelope encryption off, use a key made with 'strongroom key create --purpose encrypt'."
          : "Use a key made for wrapping (the default purpose).", key: key.description)
    }
    return version
  }

  /// The version that the named provider wraps new data of `key` under.
  func current(of key: KeyName, in provider: String, access: Access) async throws -> KeyVersion {
    let found = try await find(access) { content in
      content.versions.values.filter { $0.key == key && $0.provider == provider && $0.purpose == .wrap }.current
    }
    if let found { return found }
    throw failure
      ?? KMSError(
        .keyNotFound, "provider \(provider) has no active version of key '\(key)' for wrapping",
        advice: "'strongroom key rotate \(key) --provider \(provider)' makes one, and deactivates those elsewhere.",
        provider: provider,
        key: key.description)
  }

  /// The version that new data is wrapped under for recovery: the newest active one in any provider. A key for
  /// wrapping will do as well, as one in a second token.
  func recovery(of key: KeyName, access: Access) async throws -> KeyVersion {
    if let version = try await find(access, { $0.recovery[key] }) { return version }
    throw missing(recovery: key)
  }

  private func find(_ access: Access, _ read: (Content) -> KeyVersion?) async throws -> KeyVersion? {
    let isNew = try await refresh(access: access, evenIfFresh: false)
    if let found = fresh(read) { return found }
    if !isNew { try await refresh(access: access, evenIfFresh: true) }
    return fresh(read)
  }

  /// The version with this id, nil when no configured provider holds it.
  func version(_ id: KeyVersionID, access: Access) async throws -> KeyVersion? {
    try await find(access) { $0.versions[id] }
  }

  /// Every version that is known now, oldest first.
  func all(access: Access) async throws -> [KeyVersion] {
    try await refresh(access: access, evenIfFresh: true)
    if let failure { throw failure }
    return fresh { $0.versions.values.sorted { $0.id < $1.id } }
  }

  /// Every version that is known now, oldest first, also where a provider other than the primary is out of reach.
  func reachable(access: Access) async throws -> [KeyVersion] {
    try await refresh(access: access, evenIfFresh: true)
    if let failure = fresh({ $0.primaryFailure }) { throw failure }
    return fresh { $0.versions.values.sorted { $0.id < $1.id } }
  }

  /// Every version that is known now, oldest first, and why there may be more of them.
  func known(
    access: Access
  ) async throws -> (versions: [KeyVersion], failures: [(provider: String, error: KMSError)]) {
    try await refresh(access: access, evenIfFresh: true)
    return fresh { ($0.versions.values.sorted { $0.id < $1.id }, $0.failures) }
  }

  /// The failure of a provider that could not be asked, if any: what is missing may be there.
  var failure: KMSError? { fresh { $0.failures.first?.error } }

  /// Forgets everything: a state or version has changed.
  func invalidate() {
    content.withLock { content in
      content.loaded = nil
      content.generation += 1
    }
    onInvalidate()
  }

  private func fresh<T>(_ read: (Content) -> T) -> T { content.withLock { read($0) } }

  /// - Returns: whether the providers were asked now.
  @discardableResult
  private func refresh(access: Access, evenIfFresh: Bool) async throws -> Bool {
    let now = ContinuousClock.now
    let (isFresh, generation) = content.withLock { content in
      (content.loaded.map { now - $0 < content.age } ?? false, content.generation)
    }
    guard evenIfFresh || !isFresh else { return false }
    if evenIfFresh {
      try await load(access)
    } else {
      try await loading.run(generation: generation) { try await self.load(access) }
    }
    return true
  }

  // Where lists take long, as there are many keys, they are asked for less often: no more than this part of the time.
  private static let patience = 20
  // A list that was slow for another reason is soon forgotten all the same.
  private static let mostAge = Duration.seconds(30)

  private func load(_ access: Access) async throws {
    let now = ContinuousClock.now
    var next = Content()
    (next.generation, next.number) = content.withLock { content in
      content.lastNumber += 1
      return (content.generation, content.lastNumber)
    }
    for name in providers.names {
      do {
        for version in try await providers.provider(name, access: access, key: nil).keyVersions(of: nil) {
          if let other = next.versions[version.id], other.provider != version.provider,
            other.provider == providers.primaryName
          {
            continue  // one id in two providers after a migration: the one that makes new keys serves
          }
          next.versions[version.id] = version
        }
      } catch let error as KMSError where error.code != .accessLogUnavailable {
        next.failures.append((name, error))
        if name == providers.primaryName { next.primaryFailure = error }
      }
    }
    // New data goes under versions of the provider that makes them, and of no other: should that one be out of
    // reach, encrypting fails rather than falling back to a key that was left behind.
    for (key, versions) in Dictionary(grouping: next.versions.values, by: \.key) {
      next.current[key] = versions.filter { $0.provider == providers.primaryName }.current
      next.recovery[key] = versions.filter { $0.purpose != .encrypt }.current
    }
    next.loaded = now
    next.age = max(maxAge, min(Self.mostAge, (ContinuousClock.now - now) * Self.patience))
    content.withLock { [next] content in
      guard content.number < next.number else { return }
      let (generation, lastNumber) = (content.generation, content.lastNumber)
      content = next
      (content.generation, content.lastNumber) = (generation, lastNumber)
      if generation != next.generation { content.loaded = nil }
    }
  }

  private func missing(recovery key: KeyName) -> KMSError {
    if let failure { return failure }
    let isThere = fresh { $0.versions.values.contains { $0.key == key } }
    return KMSError(
      isThere ? .keyStateForbids : .keyNotFound,
      isThere ? "recovery key '\(key)' has no active version that wraps" : "there is no recovery key '\(key)'",
      advice: "Make one with 'strongroom recovery create', or take it out of data-at-rest.recovery-recipients.",
      key: key.description)
  }

  private func missing(key: KeyName) -> KMSError {
    if let failure { return failure }
    let elsewhere = Set(fresh { $0.versions.values.filter { $0.key == key }.map(\.provider) })
    guard !elsewhere.isEmpty else {
      return KMSError(
        .keyNotFound, "there is no key '\(key)'",
        advice: "Create it with 'strongroom key create \(key)', or name another; 'strongroom key list' shows them.",
        key: key.description)
    }
    return KMSError(
      .keyStateForbids, "key '\(key)' has no active version in provider \(providers.primaryName)",
      advice: "Make one with 'strongroom key rotate \(key)', or activate one.", key: key.description)
  }
}

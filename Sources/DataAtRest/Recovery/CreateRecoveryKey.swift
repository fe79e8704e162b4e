internal import AccessLog
internal import CryptoPrimitives
public import KMSCore

extension DataAtRestManager {
  /// Makes a recovery key in the provider that makes new keys: 32 random bytes, a copy of which `keep` takes before
  /// the provider has them. There the key wraps only; nobody gets its bytes from this manager again.
  ///
  /// - Parameters:
  ///   - reason: for the log; how the copy is kept.
  ///   - keep: gets the key and the version that it will be; keeps it durably, and gives back what it reads
  ///     there. When it throws, it leaves nothing.
  ///   - discard: removes the copy. Called on a failure after `keep`, when the key is certainly in no provider.
  /// - Throws: ``KMSError/Code/duplicateKeyVersion`` when the key has an active version; ``KMSError/Code/notSupported``
  ///   when the provider takes no keys; ``KMSError/Code/tokenNotTrustworthy`` when it wraps otherwise than the copy.
  public func createRecoveryKey(
    _ key: KeyName, reason: String, principal: String? = nil,
    keep: (borrowing SecretBytes, KeyVersion) throws -> SecretBytes, discard: () throws -> Void
  ) async throws -> KeyVersion {
    let access = Access(principal: principal ?? Access.currentPrincipal)
    try await reporter.report(AccessEvent(.recoveryCreate, phase: .intent, key: key, access: access, reason: reason))
    defer { directory.invalidate() }
    return try await logged(.recoveryCreate, access) { event in
      event.key = key
      event.reason = reason
      let before = try await keyVersions(of: key, principal: principal)
      guard before.current == nil, before.allSatisfy({ $0.purpose == .recovery }) else {
        throw KMSError(
          .duplicateKeyVersion, "there is a key '\(key)' already",
          advice: "Choose another name; the year in it helps.", key: key.description)
      }
      let planned = KeyVersion(
        id: .make(after: before.last?.id), key: key, purpose: .recovery, state: .active, enforcement: .suite,
        provider: providers.primaryName)
      event.version = planned.id
      event.provider = planned.provider
      let provider = try providers.provider(planned.provider, access: access, key: key, reason: "recovery key")
      let secret = SecretBytes.random(count: 32)
      let copy = try keep(secret, planned)
      var mayBeThere = false
      do {
        let same = copy.equals(secret)
        guard same else {
          throw KMSError(.doesNotOpen, "the copy does not give the key back", advice: "Check where it is kept.")
        }
        mayBeThere = true
        let made = try await provider.importKeyVersion(
          NewKeyVersion(key: key, purpose: .recovery, id: planned.id), material: copy)
        try await check(made, wrapsLike: copy, provider)
        return made
      } catch {
        if mayBeThere { mayBeThere = await !remove(planned, from: provider) }
        guard mayBeThere else {
          try discard()
          throw error
        }
        let known = error as? KMSError
        throw KMSError(
          known?.code ?? .cancelled, "\(known?.message ?? "cancelled"); the key may be in the provider",
          advice: "Run the same again: it finishes this or takes it back.", provider: planned.provider,
          key: key.description, cause: known?.cause)
      }
    }
  }

  /// Whether `copy` is the key that the provider holds as `version`: both must wrap a random key to the same bytes.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen`` when it is not; ``KMSError/Code/notSupported`` for a public key.
  public func checkRecoveryKey(
    _ version: KeyVersion, copy: borrowing SecretBytes, principal: String? = nil
  ) async throws {
    let provider = try providers.provider(
      version.provider, access: Access(principal: principal), key: version.key, reason: "check of the copy")
    do { try await check(version, wrapsLike: copy, provider) } catch let error as KMSError
      where error.code == .tokenNotTrustworthy
    {
      throw KMSError(
        .doesNotOpen, "this is not the copy of \(version.id)", advice: "Take the copy of that version.",
        provider: version.provider, key: version.key.description)
    }
  }

  private func check(
    _ version: KeyVersion, wrapsLike copy: borrowing SecretBytes, _ provider: AccessLoggedProvider
  ) async throws {
    let probe = SecretBytes.random(count: 32)
    let wrapped = try await provider.wrap(probe, under: version.id, aad: [0])
    guard wrapped.algorithm == .a256KW else {
      throw KMSError(.notSupported, "a key that wraps by \(wrapped.algorithm) has no copy to compare")
    }
    let expected = try probe.withBytes { try AESKeyWrap.wrap($0, kek: copy) }
    guard wrapped.bytes == expected else {
      throw KMSError(
        .tokenNotTrustworthy, "the provider does not wrap with the key that it was given",
        advice: "Make no recovery keys in it before its vendor has explained that.", provider: version.provider,
        key: version.key.description)
    }
  }

  /// Whether the version is certainly not there, or not any more.
  private func remove(_ version: KeyVersion, from provider: AccessLoggedProvider) async -> Bool {
    do {
      guard try await provider.keyVersions(of: version.key).contains(where: { $0.id == version.id }) else {
        return true
      }
      for state in [KeyState.deactivated, .destroyed] { _ = try await provider.setState(state, of: version.id) }
      return true
    } catch { return false }
  }
}

extension AccessEvent.Operation {
  static let recoveryCreate = Self(rawValue: "recovery-create")
}

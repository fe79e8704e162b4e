public import KMSCore
internal import PKCS11
internal import Synchronization

/// Keys in a token behind PKCS#11: made there, used there, never seen here.
///
/// The token is opened at first use, and anew when it was lost. Every call has a deadline.
public final class PKCS11Provider: KMSProvider {
  public let identity: ProviderIdentity
  let configuration: PKCS11Configuration
  private let connections: Connections
  let uses = GCMUses()

  /// Opens nothing yet.
  public init(_ configuration: PKCS11Configuration) {
    identity = ProviderIdentity(kind: "pkcs11", name: configuration.name)
    self.configuration = configuration
    connections = Connections(configuration)
  }

  public func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    try await retrying("list-versions") { connection in
      try await connection.keys(anew: true).versions(of: name)
    }
  }

  public func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    try InputRules.checkKey(count: key.count)
    // A copy that the call owns: should it hang, the caller goes and takes the key with it.
    let secret = SharedSecret(key.copy())
    return try await using(id, for: [.wrap, .recovery], allowing: \.wraps, "wrap") { entry in
      guard entry.algorithm == .a256GCM else { return }
      try InputRules.checkAdditionalData(aad)
      try self.uses.add(id)
    } _: { session, entry, abilities throws(CallFailure) in
      try session.withKEK(entry) { kek throws(CallFailure) in
        try session.wrap(secret, under: entry, at: kek, aad: aad, abilities)
      }
    }
  }

  public func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try await using(id, for: [.wrap], allowing: \.unwraps, "unwrap") { entry in
      try entry.check(wrapped, aad)
    } _: { session, entry, _ throws(CallFailure) in
      try session.withKEK(entry) { kek throws(CallFailure) in
        try session.unwrap(wrapped, under: entry, at: kek, aad: aad)
      }
    }
  }

  public func health() async -> ProviderHealth {
    do {
      let connection = try await calling("health") { connection in
        // A call that reaches the token, so that a dead one is noticed.
        _ = try await connection.pool.withSession { session throws(CallFailure) in try session.random(1) }
        return connection
      }
      return connections.health(of: connection)
    } catch {
      return ProviderHealth(error)
    }
  }

  /// How the token wraps keys, as far as it was tried.
  package func abilities() async throws -> WrapAbilities {
    try await calling("abilities") { connection in connection.abilities }
  }

  /// Whether calls are made on the threads that ask, as the token is fast.
  package func isInline() async throws -> Bool {
    try await calling("pace") { connection in connection.pace.isFast }
  }

  public func close() async { await connections.close() }
}

/// How calls reach the token.
extension PKCS11Provider {
  /// Runs `body` with the key of this id, after its purpose and state were checked here as well.
  func using<R: Sendable & ~Copyable>(
    _ id: KeyVersionID, for purposes: [KeyPurpose], allowing: (KeyState) -> Bool, _ operation: String,
    before check: (KeyIndex.Entry) throws -> Void = { _ in },
    _ body: @escaping @Sendable (Session, KeyIndex.Entry, WrapAbilities) throws(CallFailure) -> R
  ) async throws -> R {
    try await retrying(operation) { connection in
      let found = try await connection.entry(id, operation: operation)
      try found.version.check(purposes: purposes, allowing: allowing, operation: operation)
      try check(found)
      let entry = try await connection.verified(found)
      let abilities = connection.abilities
      do {
        return try await connection.pool.withSession { session throws(CallFailure) in
          try body(session, entry, abilities)
        }
      } catch let failure as CallFailure where failure.isUnclear {
        // Bad input, or is the token down?
        guard await connection.answers(entry) else { throw failure.asLoss }
        throw failure
      }
    }
  }

  /// Runs `body`, which looks its keys up itself, and again when a handle has gone stale, another process has changed
  /// the key's state, or the session was lost. It must be safe to run twice.
  func retrying<R: Sendable & ~Copyable>(
    _ operation: String, _ body: (Connection) async throws -> R
  ) async throws -> R {
    var attempts = 0
    while true {
      attempts += 1
      let attempt = attempts
      do {
        return try await calling(operation, mayRetry: attempt < 2) { connection in
          do {
            if connection.ways.mayChange { try await connection.settleAbilities() }
            return try await body(connection)
          } catch let failure as CallFailure
            where attempt < 5 && !failure.returned.endsSession
          {
            guard try await connection.looksDifferent(after: failure.returned) else { throw failure }
            throw Again()
          }
        }
      } catch is Again { continue }
    }
  }

  /// Runs `body` with the open token, and turns what the token returned into errors.
  ///
  /// - Throws: ``Again`` when `mayRetry` and what was lost may have been opened anew.
  func calling<R: ~Copyable>(
    _ operation: String, mayRetry: Bool = false, _ body: (Connection) async throws -> R
  ) async throws -> R {
    do {
      try Task.checkCancellation()
      let connection = try await connections.current()
      do {
        let result = try await body(connection)
        connection.noteServed()
        return result
      } catch let failure as CallFailure {
        if failure.returned.endsSession {
          connections.lost(connection, failure.error, needsReload: failure.returned.losesToken)
          if mayRetry { throw Again() }
        } else if failure.returned.meansAnything, !failure.isUnclear {
          // The session is gone already; the token perhaps as well.
          if mayRetry { throw Again() }
          if !(await connection.answers(nil)) { connections.lost(connection, failure.error, needsReload: true) }
        }
        throw failure
      } catch let error as HungCall {
        connections.lost(connection, error.error, needsReload: true)
        throw error.error
      }
    } catch let failure as CallFailure {
      throw failure.error.adding(provider: identity.name, operation: operation)
    } catch let error as KMSError {
      throw error.adding(provider: identity.name, operation: operation)
    }
  }
}

/// The same once more, on whatever connection there is then.
struct Again: Error {}

extension CallFailure {
  /// The token answers nothing any more, whatever it said to this call.
  fileprivate var asLoss: CallFailure { CallFailure(function: function, returned: .deviceError) }
}

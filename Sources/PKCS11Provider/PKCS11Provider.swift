public import KMSCore
internal import PKCS11
internal import Synchronization

/// Which token, and how it is opened.
public struct PKCS11Configuration: Sendable {
  /// The provider's configured name.
  public let name: String
  /// Which token.
  public let uri: PKCS11URI
  /// Where the user's PIN is.
  public let pin: SecretSource
  /// Sessions for calls, at most.
  public let maxSessions: Int

  /// - Parameters:
  ///   - name: the provider's configured name.
  ///   - maxSessions: sessions that are kept open for calls at most; one more holds the login.
  public init(name: String, uri: PKCS11URI, pin: SecretSource, maxSessions: Int = 8) {
    self.name = name
    self.uri = uri
    self.pin = pin
    self.maxSessions = maxSessions
  }
}

/// Keys in a token behind PKCS#11: made there, used there, never seen here.
///
/// The token is opened at first use. Calls run on the calling task's thread.
public final class PKCS11Provider: KMSProvider {
  public let identity: ProviderIdentity
  private let configuration: PKCS11Configuration

  private struct State {
    var connection: Connection?
    /// A PIN that the token refused. It is not tried again: tokens lock.
    var refusedPIN: Refused?
    var isClosed = false
  }

  private final class Refused: Sendable {
    let pin: SecretBytes
    init(_ pin: consuming SecretBytes) { self.pin = pin }
  }

  private let state = Mutex(State())

  /// Opens nothing yet.
  public init(_ configuration: PKCS11Configuration) {
    identity = ProviderIdentity(kind: "pkcs11", name: configuration.name)
    self.configuration = configuration
  }

  public func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    try await calling("list-versions") { connection in
      try await connection.keys(anew: true).versions(of: name)
    }
  }

  public func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    try InputRules.checkKey(count: key.count)
    let bytes = try await using(id, for: [.wrap, .recovery], allowing: \.wraps, "wrap") {
      session, kek throws(CallFailure) in
      try session.wrap(key, under: kek)
    }
    return WrappedKey(algorithm: .a256KW, bytes: bytes)
  }

  public func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try await using(id, for: [.wrap], allowing: \.unwraps, "unwrap") { session, kek throws(CallFailure) in
      try session.unwrap(wrapped.bytes, under: kek)
    } before: {
      try InputRules.checkKeyWrap(wrapped)
    }
  }

  public func health() async -> ProviderHealth {
    do {
      let token = try await calling("health") { connection in
        // A call that reaches the token, so that a dead one is noticed.
        _ = try await connection.pool.withSession { session throws(CallFailure) in try session.random(1) }
        return connection.token
      }
      return ProviderHealth(
        isServing: true,
        detail: "token '\(token.label)', serial \(token.serial), firmware \(token.firmware), "
          + "module \(configuration.uri.modulePath); login works")
    } catch {
      return ProviderHealth(error)
    }
  }

  public func close() async {
    let connection = state.withLock { state in
      defer { state = State(isClosed: true) }
      return state.connection
    }
    await connection?.pool.close()
  }
}

/// How calls reach the token.
extension PKCS11Provider {
  /// Runs `body` with the key of this id, after its purpose and state were checked here as well.
  func using<R: ~Copyable>(
    _ id: KeyVersionID, for purposes: [KeyPurpose], allowing: (KeyState) -> Bool, _ operation: String,
    _ body: (Session, UInt) throws(CallFailure) -> sending R, before check: () throws -> Void = {}
  ) async throws -> sending R {
    try await retrying(operation) { connection in
      let entry = try await connection.entry(id, operation: operation)
      try entry.version.check(purposes: purposes, allowing: allowing, operation: operation)
      try check()
      return try await connection.pool.withSession { session throws(CallFailure) in try body(session, entry.handle) }
    }
  }

  /// Runs `body`, which looks its keys up itself, and again when a handle has gone stale, another process has changed
  /// the key's state, or the session was lost.
  func retrying<R: ~Copyable>(
    _ operation: String, _ body: (Connection) async throws -> sending R
  ) async throws -> sending R {
    try await calling(operation) { connection in
      var attempts = 0
      while true {
        attempts += 1
        do { return try await body(connection) } catch let failure as CallFailure
          where attempts < (failure.returned.endsSession ? 2 : 5)
        {
          guard try await connection.looksDifferent(after: failure.returned) else { throw failure }
        }
      }
    }
  }

  /// Runs `body` with the open token, and turns what the token returned into errors.
  func calling<R: ~Copyable>(
    _ operation: String, _ body: (Connection) async throws -> sending R
  ) async throws -> sending R {
    do {
      try Task.checkCancellation()
      let connection = try connection()
      do { return try await body(connection) } catch let failure as CallFailure {
        // Whatever was lost is opened anew by the next call.
        if failure.returned.endsSession { await drop(connection) }
        throw failure
      }
    } catch let failure as CallFailure {
      throw failure.error.adding(provider: identity.name, operation: operation)
    } catch let error as KMSError {
      throw error.adding(provider: identity.name, operation: operation)
    }
  }

  private func connection() throws -> Connection {
    try state.withLock { state throws(any Error) in
      guard !state.isClosed else {
        throw KMSError(.closed, "the provider was closed", advice: "Open another manager.")
      }
      if let connection = state.connection { return connection }
      let pin = try configuration.pin.read()
      if let refused = state.refusedPIN {
        let same = refused.pin.equals(pin)
        guard !same else {
          throw KMSError(
            .accessDenied, "the token refused this PIN, and it is not tried again",
            advice: "Correct the PIN in \(configuration.pin).")
        }
      }
      do {
        let connection = try Connection(configuration, pin: pin)
        state.connection = connection
        state.refusedPIN = nil
        return connection
      } catch let error as KMSError where error.code == .accessDenied {
        state.refusedPIN = Refused(pin.copy())
        throw error
      }
    }
  }

  private func drop(_ lost: Connection) async {
    let isOurs = state.withLock { state in
      guard state.connection === lost else { return false }
      state.connection = nil
      return true
    }
    if isOurs { await lost.pool.close() }
  }
}

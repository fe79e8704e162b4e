internal import KMSCore
internal import PKCS11
internal import Synchronization

/// The token's connection, opened when it is needed, and anew when it was lost.
final class Connections: Sendable {
  private struct State {
    var current: Connection?
    var opening: Opening?
    /// The last one, until it is closed.
    var lost: (connection: Connection, needsReload: Bool)?
    var reopening: Reopening
    var isClosed = false
  }

  private let configuration: PKCS11Configuration
  private let opener: Opener
  private let hung = HungCalls()
  private let state: Mutex<State>

  init(_ configuration: PKCS11Configuration) {
    self.configuration = configuration
    opener = Opener(configuration, hung: hung)
    state = Mutex(State(reopening: Reopening(interval: configuration.reopenInterval)))
  }

  /// - Throws: ``KMSError/Code/closed``; what keeps the token from being opened.
  func current() async throws -> Connection {
    enum Found {
      case open(Connection)
      case opening(Opening)
    }
    let found = try state.withLock { state throws(any Error) -> Found in
      guard !state.isClosed else { throw Self.closed }
      if let connection = state.current { return .open(connection) }
      if let opening = state.opening { return .opening(opening) }
      try state.reopening.begin(isAnew: state.lost?.needsReload == true)
      let opening = try Opening(deadline: configuration.deadline)
      state.opening = opening
      Task.detached { [self] in
        do { opening.end(.success(try await open(opening))) } catch { opening.end(.failure(error)) }
      }
      return .opening(opening)
    }
    switch found {
    case .open(let connection):
      try connection.module.checkProcess()
      return connection
    case .opening(let opening): return try await opening.connection()
    }
  }

  private func open(_ opening: Opening) async throws -> Connection {
    let lost = state.withLock { state in
      defer { state.lost = nil }
      return state.lost
    }
    await lost?.connection.pool.close()
    if let lost, lost.needsReload { await opener.end(lost.connection.module) }
    do {
      let connection = try await opener.open(
        using: lost?.needsReload == false ? lost?.connection.module : nil, opening)
      let isWanted = state.withLock { state in
        state.opening = nil
        if !state.isClosed { state.current = connection }
        return !state.isClosed
      }
      guard isWanted else {
        await close(connection)
        throw Self.closed
      }
      return connection
    } catch {
      state.withLock { state in
        state.opening = nil
        state.reopening.failed(error as? KMSError ?? KMSError(.providerFailed, "\(error)"))
      }
      throw error
    }
  }

  /// The next call opens it anew: at once when only sessions were lost and it had served, else when
  /// ``PKCS11Configuration/reopenInterval`` allows.
  func lost(_ connection: Connection, _ error: KMSError, needsReload: Bool) {
    state.withLock { state in
      guard state.current === connection else { return }
      let needsReload = needsReload || !connection.hasServed
      state.current = nil
      state.lost = (connection, needsReload)
      if needsReload { state.reopening.lost(error) }
    }
  }

  /// Of each token: the one that serves, and what keeps others from it.
  func health(of connection: Connection) -> ProviderHealth {
    let token = connection.token
    let count = hung.count
    var parts = [
      "token '\(token.label)', serial \(token.serial), firmware \(token.firmware), module \(connection.module.path)"
    ]
    parts.append("login works")
    if configuration.tokens.count > 1 {
      parts.append(contentsOf: opener.failures.map { "'\($0.label)': \($0.problem)" })
    }
    if count > 0 { parts.append("\(count) calls hang") }
    var health = ProviderHealth(isServing: true, detail: parts.joined(separator: "; "))
    let sessions = connection.pool.counts
    health.sessions = ProviderSessions(open: sessions.open, busy: sessions.busy, limit: sessions.limit)
    return health
  }

  func close() async {
    let (current, lost, opening) = state.withLock { state in
      state.isClosed = true
      defer { (state.current, state.lost) = (nil, nil) }
      return (state.current, state.lost?.connection, state.opening)
    }
    if let current { await close(current) }
    if let lost { await close(lost) }
    _ = try? await opening?.connection()
  }

  private func close(_ connection: Connection) async {
    await connection.pool.close()
    await opener.end(connection.module)
  }

  private static var closed: KMSError {
    KMSError(.closed, "the provider was closed", advice: "Open another manager.")
  }
}

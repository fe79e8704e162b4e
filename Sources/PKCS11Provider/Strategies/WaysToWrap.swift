internal import KMSCore
internal import PKCS11
internal import Synchronization

/// How a connection's token wraps keys, as far as it has said. Where it has not said for sure, it is asked again: when
/// it is opened or makes a key, and from time to time.
final class WaysToWrap: Sendable {
  private struct State {
    var abilities: WrapAbilities
    var notBefore: Moment
  }

  private let atOpening: WrapAbilities
  private let state: Mutex<State>
  private let order: [WrapAlgorithm]
  private let interval: Duration
  private let whenSettled: @Sendable (WrapAbilities) -> Void

  init(
    _ abilities: WrapAbilities, _ configuration: PKCS11Configuration,
    whenSettled: @escaping @Sendable (WrapAbilities) -> Void
  ) {
    atOpening = abilities
    (order, interval) = (configuration.wrapAlgorithms, configuration.reopenInterval)
    state = Mutex(State(abilities: abilities, notBefore: .now + interval))
    self.whenSettled = whenSettled
  }

  /// As a rule they are settled when the token is opened, and cost calls nothing.
  var mayChange: Bool { !atOpening.isSettled }
  var abilities: WrapAbilities { mayChange ? state.withLock { $0.abilities } : atOpening }

  private func isTimeToAsk() -> Bool {
    let now = Moment.now
    return state.withLock { state in
      guard !state.abilities.isSettled, state.notBefore < now else { return false }
      state.notBefore = now + interval
      return true
    }
  }

  /// - Returns: whether session keys or records are put into the token in another way from here on.
  private func take(_ found: WrapAbilities, for pool: SessionPool) -> Bool {
    let before: WrapAbilities? = state.withLock { state in
      // What has worked is not given up for a try that failed.
      guard found.hasTriedSessionKeys || !state.abilities.hasTriedSessionKeys else { return nil }
      defer { state.abilities = found }
      return state.abilities
    }
    guard let before else { return false }
    if found.isSettled { whenSettled(found) }
    guard !found.sessionKeys.isSame(as: before.sessionKeys) else { return false }
    pool.use(found.sessionKeys)
    return true
  }

  /// Asks the token.
  func ask(_ pool: SessionPool) async throws -> (abilities: WrapAbilities, areOthers: Bool) {
    let order = order
    let found = try await pool.alone { session throws(CallFailure) in try WrapAbilities(of: session, order: order) }
    return (found, take(found, for: pool))
  }

  /// Asks the token where it is time to.
  func askAgain(_ pool: SessionPool) async throws -> Bool {
    guard mayChange, isTimeToAsk() else { return false }
    do { return try await ask(pool).areOthers } catch let failure as CallFailure where !failure.returned.endsSession {
      return false
    }
  }
}

extension Connection {
  var abilities: WrapAbilities { ways.abilities }

  /// What new keys are made by.
  func abilitiesForNewKeys() async throws -> WrapAbilities {
    let known = abilities
    return known.isSettled ? known : try await ways.ask(pool).abilities
  }

  /// Before calls that use keys.
  func settleAbilities() async throws {
    // What a key is can be read differently now.
    if try await ways.askAgain(pool) { forgetKeys() }
  }
}

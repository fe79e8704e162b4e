internal import Glibc
internal import KMSCore
internal import PKCS11
internal import Synchronization

/// Opens a token: module, slot, login, self-test. All of it on a thread of its own, as any of these calls can hang.
final class Opener: Sendable {
  private let configuration: PKCS11Configuration
  private let hung: HungCalls
  private let pins: PINReader
  private let refused = RefusedPINs()
  private let canaries = Canaries()
  /// By serial number and firmware: a token's abilities are tried out until it has said what they are.
  private let abilities = Mutex<[String: WrapAbilities]>([:])

  private let lastFailures = Mutex<[(label: String, problem: String)]>([])

  /// Tokens that did not answer when one was opened last.
  var failures: [(label: String, problem: String)] { lastFailures.withLock { $0 } }

  init(_ configuration: PKCS11Configuration, hung: HungCalls) {
    self.configuration = configuration
    self.hung = hung
    pins = PINReader(configuration.pin, deadline: configuration.deadline)
  }

  /// The first token that answers. One that refuses the PIN ends the search: the next would count a wrong try as well.
  ///
  /// - Parameter module: one that is in use, to be used again.
  func open(using module: Module?, _ opening: Opening) async throws -> Connection {
    try pins.check()
    var failures: [(PKCS11URI, KMSError)] = []
    defer {
      let said = failures.map { (label: $0.0.tokenLabel, problem: $0.1.message) }
      lastFailures.withLock { $0 = said }
    }
    for uri in configuration.tokens {
      do {
        return try await open(uri, using: module?.path == uri.modulePath ? module : nil, opening)
      } catch let error as KMSError
        where [.providerUnavailable, .deadlineExceeded, .providerFailed, .notSupported].contains(error.code)
      {
        failures.append((uri, error))
      }
    }
    guard failures.count != 1 else { throw failures[0].1 }
    throw KMSError(
      .providerUnavailable, "none of \(failures.count) tokens answers",
      advice: failures.map { "'\($0.0.tokenLabel)': \($0.1.message)" }.joined(separator: "; ") + ".")
  }

  private func open(_ uri: PKCS11URI, using module: Module?, _ opening: Opening) async throws -> Connection {
    try hung.check()
    let lane = try makeLane()
    let (module, token) = try await run(lane) { [configuration] in
      let (module, token) = try module.map { ($0, try Self.find(uri, in: $0)) } ?? Self.start(uri, configuration)
      try token.checkPINMayBeTried()
      return (module, token)
    }
    let pin = try await opening.asking(pins.source) { try await pins.read() }
    try refused.check(pin.bytes, of: token, source: pins.source)
    return try await run(lane) { [self] in
      let pace = Pace(isFast: false)
      let login: Session
      do throws(CallFailure) {
        login = try Session(module: module, slot: token.slot)
        try logIn(login, token, pin.bytes)
      } catch {
        if error.returned.refusesPIN { refused.add(pin.bytes, of: token) }
        throw error.error
      }
      refused.remove(token)
      pace.settle(simplestCall: login.simplestCallNanoseconds())
      let abilities = try abilities(of: token, login)
      login.profile = abilities.sessionKeys
      let pool = try SessionPool(
        login: login, token: token, limit: configuration.maxSessions, deadline: configuration.deadline, pace: pace,
        hung: hung)
      let ways = WaysToWrap(abilities, configuration) { [self] in remember($0, of: token) }
      return Connection(
        module: module, token: token, pool: pool, pace: pace, ways: ways, canaries: canaries,
        provider: configuration.name)
    }
  }

  /// Tried out once; what may have failed by chance, at each opening.
  private func abilities(of token: Token, _ login: Session) throws(KMSError) -> WrapAbilities {
    if let known = abilities.withLock({ $0[token.identity] }) { return known }
    do throws(CallFailure) {
      let found = try WrapAbilities(of: login, order: configuration.wrapAlgorithms)
      if found.isSettled { remember(found, of: token) }
      return found
    } catch { throw error.error }
  }

  private func remember(_ found: WrapAbilities, of token: Token) {
    abilities.withLock { $0[token.identity] = found }
  }

  private static func find(_ uri: PKCS11URI, in module: Module) throws -> Token {
    try Token.find(label: uri.tokenLabel, serial: uri.serial, in: module)
  }

  /// SoftHSM passes a token over, until it is started anew, whose file another process's login is writing just then.
  private static func start(_ uri: PKCS11URI, _ configuration: PKCS11Configuration) throws -> (Module, Token) {
    for pause: UInt32 in [5, 20, 50] {
      let module = try Module(path: uri.modulePath, arguments: configuration.initArguments)
      do { return (module, try find(uri, in: module)) } catch {
        guard Token.mayBePassedOver(in: module) else { throw error }
        module.end()
        usleep(pause * 1000)
      }
    }
    let module = try Module(path: uri.modulePath, arguments: configuration.initArguments)
    return (module, try find(uri, in: module))
  }

  /// SoftHSM was seen to answer CKR_GENERAL_ERROR to a login beside another process's work on the token. It says
  /// something else to a wrong PIN, and never counts tries, so this login may be made again.
  private func logIn(_ session: Session, _ token: Token, _ pin: borrowing SecretBytes) throws(CallFailure) {
    for pause: UInt32 in token.overwritesObjects ? [5, 20, 50] : [] {
      do throws(CallFailure) { return try session.login(pin: pin) } catch {
        guard error.returned.meansAnything else { throw error }
        usleep(pause * 1000)
      }
    }
    try session.login(pin: pin)
  }

  /// So that it is started anew. On a thread of its own: a remote token's client tells its server.
  func end(_ module: Module) async {
    guard module.isThisProcess else { return }
    try? await run(makeLane()) { module.end() }
  }

  private func makeLane() throws -> Lane {
    let lane = Lane(pace: Pace(isFast: false))
    let hung = hung
    lane.whenLateCallEnds = { hung.remove() }
    try Watchdog.shared.watch(lane, deadline: configuration.deadline)
    return lane
  }

  /// Runs a step; one that hangs is left behind with its thread.
  private func run<Value: Sendable>(
    _ lane: Lane, _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    guard let result = try await lane.run(until: .now + configuration.deadline, { Result { try body() } }) else {
      hung.add()
      throw SessionPool.tooLate(configuration.deadline)
    }
    return try result.get()
  }
}

import Foundation
import KMSCore
import Synchronization
import TestSupport
import Testing

@testable import PKCS11

/// The queue of those who wait for a session.
@Suite(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
struct PoolQueueTests {
  private func login() throws -> (session: Session, token: Token) {
    let made = try SoftHSM.makeToken()
    let module = try Module(path: made.module)
    let token = try Token.find(label: made.label, serial: nil, in: module)
    do throws(CallFailure) {
      let session = try Session(module: module, slot: token.slot)
      try session.login(pin: SecretBytes(copying: Array(made.pin.utf8).span))
      return (session, token)
    } catch { throw error.error }
  }

  /// No change of threads between two calls of a fast token, however many wait.
  @Test(
    .enabled(if: ProcessInfo.processInfo.activeProcessorCount > 1, "one processor: calls have threads of their own"),
    .timeLimit(.minutes(1)))
  func whoWaitsIsServedInOrderByTheThreadThatMakesTheCalls() async throws {
    let (login, token) = try login()
    let pool = try SessionPool(
      login: login, token: token, limit: 4, deadline: .seconds(60), pace: Pace(isFast: true), hung: HungCalls())
    _ = try await pool.withSession { session throws(CallFailure) in try session.random(1) }
    let calls = Calls()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        try await pool.withSession { _ throws(CallFailure) in
          calls.add(0) { _ = calls.release.wait(timeout: .now() + 30) }
        }
      }
      while calls.made.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
      for caller in 1...5 {
        group.addTask { try await pool.withSession { _ throws(CallFailure) in calls.add(caller) } }
        while pool.state.withLock({ $0.waiting.count }) < caller { try await Task.sleep(for: .milliseconds(1)) }
      }
      calls.release.signal()
      try await group.waitForAll()
    }
    let made = calls.made
    #expect(made.map(\.caller) == Array(0...5))
    #expect(Set(made.map(\.thread)).count == 1)
    #expect(pool.state.withLock { ($0.openCount, $0.inUse, $0.idle.count) } == (1, 0, 1))
    await pool.close()
  }

  /// Nor the sessions that nobody uses.
  @Test(.timeLimit(.minutes(1))) func aCallThatHangsDoesNotKeepThePool() async throws {
    let calls = Calls()
    weak var gone: SessionPool?
    do {
      let (login, token) = try login()
      let pool = try SessionPool(
        login: login, token: token, limit: 2, deadline: .milliseconds(500), pace: Pace(isFast: true), hung: HungCalls())
      gone = pool
      await #expect(throws: HungCall.self) {
        try await pool.withSession { _ throws(CallFailure) in
          calls.add(0) { _ = calls.release.wait(timeout: .now() + 20) }
          calls.add(0)  // it has ended
        }
      }
    }
    // The watchdog may hold it for a look.
    while gone != nil { try await Task.sleep(for: .milliseconds(10)) }
    #expect(calls.made.count == 1)
    calls.release.signal()
  }

  /// Also where it has more sessions, from when it was slow.
  @Test(arguments: [true, false]) func aFastTokenHasOneCallAtATime(isFast: Bool) throws {
    var state = SessionPoolState(login: nil, limit: 2, pace: Pace(isFast: isFast))
    state.openCount = 2
    state.idle = [try login().session, try login().session]
    #expect(state.takeIdle() != nil)
    #expect((state.takeIdle() != nil) == !isFast)
  }

  private final class Calls: Sendable {
    typealias Call = (caller: Int, thread: pthread_t)
    let release = DispatchSemaphore(value: 0)
    private let all = Mutex<[Call]>([])
    var made: [Call] { all.withLock { $0 } }

    func add(_ caller: Int, before rest: () -> Void = {}) {
      all.withLock { $0.append((caller, pthread_self())) }
      rest()
    }
  }

  @Test func aSessionThatIsGrantedIsNotAnothersToTake() throws {
    let (login, _) = try login()
    var state = SessionPoolState(login: nil, limit: 2, pace: Pace(isFast: true))
    state.openCount = 1
    state.idle = [login]
    state.inUse = 1  // granted, and not fetched yet
    #expect(state.takeIdle() == nil)
    state.inUse = 0
    #expect(state.takeIdle() === login)
  }
}

import Foundation
import KMSCore
import TestSupport
import Testing

@testable import PKCS11

@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct SessionLimitTests {
  /// Others may have ended theirs.
  @Test(.timeLimit(.minutes(2))) func aTokenThatGaveNoMoreSessionsIsAskedAgainLater() async throws {
    let module = try FaultyModule("session-limit 2")  // one of them holds the login
    let loaded = try Module(path: module.path)
    let token = try Token.find(label: module.token.label, serial: nil, in: loaded)
    let pin = SecretBytes(copying: Array(module.token.pin.utf8).span)
    let login: Session
    do throws(CallFailure) {
      login = try Session(module: loaded, slot: token.slot)
      try login.login(pin: pin)
    } catch { throw error.error }
    let pool = try SessionPool(
      login: login, token: token, limit: 3, deadline: .seconds(30), pace: Pace(isFast: false), hung: HungCalls(),
      limitAge: .milliseconds(100))
    try await use(pool)
    #expect(pool.counts.open == 1 && module.trace.contains("C_OpenSession CKR_SESSION_COUNT"))
    try module.control()
    for _ in 0..<200 where pool.counts.open < 3 {
      try await Task.sleep(for: .milliseconds(50))
      try await use(pool)
    }
    #expect(pool.counts == (3, 0, 3))
    await pool.close()
  }

  /// More callers at once than there are sessions.
  private func use(_ pool: SessionPool) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<6 {
        group.addTask { _ = try await pool.withSession { _ throws(CallFailure) in usleep(2000) } }
      }
      try await group.waitForAll()
    }
  }
}

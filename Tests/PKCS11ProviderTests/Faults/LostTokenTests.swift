import KMSCore
import PKCS11
import PKCS11Provider
import TestSupport
import Testing

/// Tokens that lose sessions, go away and come back.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct LostTokenTests {
  @Test(arguments: [
    "CKR_SESSION_HANDLE_INVALID", "CKR_SESSION_CLOSED", "CKR_DEVICE_ERROR", "CKR_DEVICE_REMOVED",
    "CKR_TOKEN_NOT_PRESENT", "CKR_GENERAL_ERROR", "CKR_CRYPTOKI_NOT_INITIALIZED", "CKR_USER_NOT_LOGGED_IN",
    "CKR_KEY_HANDLE_INVALID", "CKR_OBJECT_HANDLE_INVALID", "CKR_WRAPPING_KEY_HANDLE_INVALID",
  ])
  func whatPassesIsTriedOnceMore(code: String) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    try module.control("on C_WrapKey at 1 fail \(code)")
    #expect(try await provider.roundTrips(id))
    await provider.close()
  }

  @Test func whatDoesNotPassIsToldAfterOneRetry() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    let before = module.calls(of: "C_WrapKey")
    try module.control("on C_WrapKey fail CKR_SESSION_HANDLE_INVALID")
    let error = await failure { _ = try await provider.wrapOnce(id) }
    #expect(error?.code == .providerUnavailable && error?.cause?.contains("C_WrapKey") == true, "\(error as Any)")
    #expect(module.calls(of: "C_WrapKey") - before == 2)
    await provider.close()
  }

  /// SoftHSM tells one of two that destroy an object at once that it failed. That is so while the object is there.
  @Test func whatAnotherDestroysAtTheSameTimeIsGone() async throws {
    let module = try FaultyModule()
    let (provider, other) = (try module.impatient(), try module.token.provider())
    var outcome: KMSError?
    for _ in 0..<5 {
      try module.control()
      let id = try await provider.makeKey()
      _ = try await provider.setState(.deactivated, of: id)
      try module.control("on C_DestroyObject fail CKR_FUNCTION_FAILED")
      let refused = await failure { _ = try await provider.setState(.destroyed, of: id) }
      #expect(refused?.cause?.contains("CKR_FUNCTION_FAILED") == true, "\(refused as Any)")
      #expect(try await other.keyVersions(of: nil).first { $0.id == id }?.state == .deactivated)
      // The other one is through before the call goes on. On a busy machine it may come before: then there is no such key.
      try module.control("on C_DestroyObject at 1 hang", "on C_DestroyObject at 1 fail CKR_FUNCTION_FAILED")
      async let destroyed = failure { _ = try await provider.setState(.destroyed, of: id) }
      try await Task.sleep(for: .milliseconds(500))
      _ = try await other.setState(.destroyed, of: id)
      try module.control()
      outcome = await destroyed
      if outcome?.code != .keyNotFound { break }
    }
    #expect(outcome == nil, "\(outcome as Any)")
    await provider.close()
    await other.close()
  }

  /// It may have been made all the same.
  @Test func makingAKeyIsNotTriedTwice() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    _ = try await provider.keyVersions(of: nil)
    let before = module.calls(of: "C_GenerateKey")
    try module.control("on C_GenerateKey fail CKR_DEVICE_ERROR")
    #expect(await failure { _ = try await provider.makeKey() }?.code == .providerUnavailable)
    #expect(module.calls(of: "C_GenerateKey") - before == 1)
    try module.control()
    #expect(try await provider.keyVersions(of: nil) == [])
    await provider.close()
  }

  @Test func aTokenThatIsTakenOutAndPutBackServesAgain() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    let wrapped = try await provider.wrapOnce(id)
    try module.control("absent")
    let error = await failure { _ = try await provider.unwrap(wrapped, under: id, aad: boundData) }
    #expect(error?.code == .providerUnavailable, "\(error as Any)")
    #expect(await provider.health().isServing == false)
    try module.control()
    try await Task.sleep(for: .milliseconds(5))  // past the interval in which nothing is tried
    #expect(try await provider.roundTrips(id))
    #expect(await provider.health().isServing)
    await provider.close()
  }

  /// Handles belong to one connection: afterwards others name the keys.
  @Test func swappedHandlesDoNoHarm() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let (first, second) = (try await provider.makeKey("first"), try await provider.makeKey("second"))
    let wrapped = (try await provider.wrapOnce(first), try await provider.wrapOnce(second))
    try module.control("now reset")
    _ = try await provider.unwrap(wrapped.0, under: first, aad: boundData)
    _ = try await provider.unwrap(wrapped.1, under: second, aad: boundData)
    let again = try await provider.wrapOnce(first)
    try module.control()
    let other = try module.impatient()
    _ = try await other.unwrap(again, under: first, aad: boundData)
    await provider.close()
    await other.close()
  }

  @Test func theModuleIsStartedAnewAtMostOnceInTheInterval() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(reopenInterval: .seconds(1000))
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    let before = module.calls(of: "C_Initialize")
    try module.control("on C_WrapKey fail CKR_DEVICE_ERROR")
    for _ in 0..<20 {
      let error = await failure { _ = try await provider.wrapOnce(id) }
      #expect(error?.code == .providerUnavailable, "\(error as Any)")
    }
    #expect(module.calls(of: "C_Initialize") - before == 1)
    await provider.close()
  }

  @Test func theNextAttemptIsThirtySecondsLaterAndALittleMore() throws {
    let start = Moment.now
    let error = KMSError(.providerUnavailable, "lost")
    var later: Set<Int> = []
    for _ in 0..<40 {
      var reopening = Reopening(interval: .seconds(30))
      try reopening.begin(isAnew: false, now: start)
      reopening.lost(error, now: start + .seconds(100))
      try reopening.begin(isAnew: true, now: start + .seconds(100))  // the first time at once
      reopening.lost(error, now: start + .seconds(101))
      #expect(throws: KMSError.self) { try reopening.begin(isAnew: true, now: start + .seconds(129)) }
      let first = try #require(
        (1300...1340).first { tenths in
          var copy = reopening
          return (try? copy.begin(isAnew: true, now: start + .milliseconds(tenths * 100))) != nil
        })
      later.insert(first)
    }
    #expect(later.count > 3, "no jitter")
  }

  /// GENERAL_ERROR from C_UnwrapKey: the canary tells bad input from a token that is down.
  @Test func badInputIsToldFromATokenThatIsDown() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(reopenInterval: .seconds(1000))
    let id = try await provider.makeKey()
    let wrapped = try await provider.wrapOnce(id)
    let before = module.calls(of: "C_Initialize")
    try module.control("on C_UnwrapKey at 1 fail CKR_GENERAL_ERROR")
    #expect(await failure { _ = try await provider.unwrap(wrapped, under: id, aad: boundData) }?.code == .doesNotOpen)
    #expect(module.calls(of: "C_Initialize") == before)
    try module.control("on C_UnwrapKey fail CKR_GENERAL_ERROR", "on C_CreateObject fail CKR_GENERAL_ERROR")
    let error = await failure { _ = try await provider.unwrap(wrapped, under: id, aad: boundData) }
    #expect(error?.code == .providerUnavailable || error?.code == .providerFailed, "\(error as Any)")
    #expect(module.calls(of: "C_Initialize") == before + 1)
    await provider.close()
  }

  /// Nothing can be wrapped under it to compare: any call tells.
  @Test func badInputIsToldFromATokenThatIsDownForAKeyThatDoesNotWrap() async throws {
    let module = try FaultyModule()
    let maker = try module.impatient()
    let id = try await maker.makeKey()
    let wrapped = try await maker.wrapOnce(id)
    _ = try await maker.setState(.deactivated, of: id)
    await maker.close()
    let provider = try module.impatient(reopenInterval: .seconds(1000))
    #expect(try await provider.keyVersions(of: nil).count == 1)
    let before = module.calls(of: "C_Initialize")
    try module.control("on C_UnwrapKey at 1 fail CKR_GENERAL_ERROR")
    #expect(await failure { _ = try await provider.unwrap(wrapped, under: id, aad: boundData) }?.code == .doesNotOpen)
    #expect(module.calls(of: "C_Initialize") == before)
    try module.control("on C_UnwrapKey fail CKR_GENERAL_ERROR", "on C_GenerateRandom fail CKR_GENERAL_ERROR")
    let error = await failure { _ = try await provider.unwrap(wrapped, under: id, aad: boundData) }
    #expect(error?.code == .providerUnavailable, "\(error as Any)")
    #expect(module.calls(of: "C_Initialize") == before + 1)
    await provider.close()
  }

  /// The same fault has other codes elsewhere.
  @Test(arguments: [
    "CKR_FUNCTION_FAILED", "CKR_WRAPPED_KEY_INVALID", "CKR_WRAPPED_KEY_LEN_RANGE", "CKR_ENCRYPTED_DATA_INVALID",
  ])
  func badInputIsToldByWhateverCode(code: String) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    let wrapped = try await provider.wrapOnce(id)
    let before = module.calls(of: "C_Initialize")
    try module.control("on C_UnwrapKey at 1 fail \(code)")
    #expect(await failure { _ = try await provider.unwrap(wrapped, under: id, aad: boundData) }?.code == .doesNotOpen)
    #expect(try await provider.roundTrips(id))
    #expect(module.calls(of: "C_Initialize") == before)
    await provider.close()
  }

  @Test func theTokenGivesFewerSessionsThanAskedFor() async throws {
    let module = try FaultyModule("session-limit 3")
    let provider = try module.impatient(maxSessions: 16)
    let id = try await provider.makeKey()
    let right = try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<8 {
        group.addTask {
          var right = 0
          for _ in 0..<20 where try await provider.roundTrips(id) { right += 1 }
          return right
        }
      }
      return try await group.reduce(0, +)
    }
    #expect(right == 160)
    #expect(module.trace.count { $0 == "C_OpenSession CKR_SESSION_COUNT" } <= 2)
    await provider.close()
  }
}

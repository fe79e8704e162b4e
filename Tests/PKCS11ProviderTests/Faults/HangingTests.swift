import KMSCore
import PKCS11Provider
import TestSupport
import Testing

/// Tokens that hang, are slow, or end while others use them.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct HangingTests {
  /// SoftHSM is fast, so the call hangs on the thread that asked: that its task goes on is the point.
  @Test(.timeLimit(.minutes(2)))
  func aCallThatHangsEndsForItsCaller() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(deadline: .seconds(2))
    let id = try await untilItWorks { try await provider.makeKey() }
    let wrapped = try await untilItWorks { try await provider.wrapOnce(id) }
    try module.control("on C_WrapKey at 1 hang")
    let error = await failure { _ = try await provider.wrapOnce(id) }
    #expect(error?.code == .deadlineExceeded, "\(error as Any)")
    // Others are served while it still hangs.
    _ = try await untilItWorks { try await provider.unwrap(wrapped, under: id, aad: boundData) }
    #expect(await provider.health().detail.contains("1 calls hang"))
    try module.control()
    while await provider.health().detail.contains("hang") { try await Task.sleep(for: .milliseconds(20)) }
    #expect(try await provider.roundTrips(id))
    await provider.close()
  }

  /// The main actor has one thread: if the call hung there, its task could not go on.
  @Test(.timeLimit(.minutes(2))) @MainActor
  func aCallerOnTheMainActorGoesOnToo() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(deadline: .seconds(2))
    let id = try await untilItWorks { try await provider.makeKey() }
    _ = try await untilItWorks { try await provider.wrapOnce(id) }
    try module.control("on C_WrapKey at 1 hang")
    let error = await failure { _ = try await provider.wrapOnce(id) }
    #expect(error?.code == .deadlineExceeded, "\(error as Any)")
    try module.control()
    await provider.close()
  }

  @Test(.timeLimit(.minutes(2)))
  func aTokenThatHangsAltogetherIsUnhealthyAndHoldsFewThreads() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(deadline: .milliseconds(500))
    let id = try await untilItWorks { try await provider.makeKey() }
    _ = try await untilItWorks { try await provider.wrapOnce(id) }
    try module.control("on * hang")
    var errors: [KMSError] = []
    // Each holds a thread, until there are so many that no other is risked.
    repeat {
      try await Task.sleep(for: .milliseconds(5))  // past the interval in which nothing is tried
      errors.append(try #require(await failure { _ = try await provider.wrapOnce(id) }))
    } while errors.last?.message.contains("calls hang in") == false
    #expect(errors.first?.code == .deadlineExceeded, "\(errors)")
    #expect(errors.last?.code == .providerUnavailable && errors.count <= 40, "\(errors)")
    // On a busy machine one of them may have been late only, and end: another takes its place.
    var told: [String] = []
    repeat {
      let health = await provider.health()
      told.append(health.detail)
      #expect(!health.isServing, "\(told)")
    } while told.count < 8 && told.last?.contains("calls hang in") == false
    #expect(told.last?.contains("calls hang in") == true, "\(told)")
    // Closing ends as well, and does not end a module under calls.
    let finalized = module.calls(of: "C_Finalize")
    await provider.close()
    #expect(module.calls(of: "C_Finalize") == finalized)
    try module.control()
  }

  /// Opening six members of a cluster that all hang takes six deadlines at least, and more than four times what a
  /// caller may wait, also on a machine that is busy.
  @Test(.timeLimit(.minutes(2)))
  func whoWaitsForAnOpeningWaitsForOneDeadline() async throws {
    let module = try FaultyModule("on C_Login hang")
    let members = try (0..<6).map { _ in try PKCS11URI(parsing: module.uri) }
    let provider = PKCS11Provider(
      PKCS11Configuration(
        name: "cluster", tokens: members, pin: secret(module.token.pin), deadline: .seconds(2),
        reopenInterval: .seconds(1000)))
    let start = ContinuousClock.now
    let error = await failure { _ = try await provider.keyVersions(of: nil) }
    #expect(error?.code == .deadlineExceeded && ContinuousClock.now - start < .seconds(8), "\(error as Any)")
    try module.control()
    await provider.close()
  }

  @Test(.timeLimit(.minutes(2)))
  func openingHangsNobody() async throws {
    let module = try FaultyModule("on C_Login hang")
    let provider = try module.impatient(deadline: .seconds(2), reopenInterval: .seconds(1000))
    #expect(await failure { _ = try await provider.keyVersions(of: nil) }?.code == .deadlineExceeded)
    #expect(await provider.health().isServing == false)
    #expect(module.calls(of: "C_OpenSession") == 1, "it was tried again within the interval")
    try module.control()
    await provider.close()
  }

  /// Calls that take long are not made on the threads that all tasks share.
  @Test(.timeLimit(.minutes(2)))
  func aSlowTokenGetsThreadsOfItsOwnAndAFastOneNone() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    while try await !provider.isInline() { _ = try await provider.wrapOnce(id) }
    try module.control("on C_WrapKey delay 5")
    for _ in 0..<4 { _ = try await provider.wrapOnce(id) }
    #expect(try await !provider.isInline())
    try module.control()
    while try await !provider.isInline() { _ = try await provider.wrapOnce(id) }
    await provider.close()
  }

  @Test func aSlowModuleIsFoundSlowWhenItIsOpened() async throws {
    let module = try FaultyModule("on C_GenerateRandom delay 1")
    let provider = try module.impatient()
    #expect(try await !provider.isInline())
    await provider.close()
  }

  @Test func closingDoesNotEndWhatOthersUse() async throws {
    let module = try FaultyModule()
    let (one, two) = (try module.impatient(), try module.impatient())
    let id = try await one.makeKey()
    #expect(try await two.roundTrips(id))
    await two.close()
    #expect(module.calls(of: "C_Finalize") == 0)
    #expect(try await one.roundTrips(id))
    await one.close()
    #expect(module.calls(of: "C_Finalize") == 1)
  }

  /// Under the load of other tests a sound call may outlast a short deadline.
  private func untilItWorks<R: Sendable & ~Copyable>(_ body: () async throws -> R) async throws -> R {
    while true {
      do { return try await body() } catch let error as KMSError
        where error.code == .deadlineExceeded || error.code == .providerUnavailable
      { try await Task.sleep(for: .milliseconds(10)) }
    }
  }
}

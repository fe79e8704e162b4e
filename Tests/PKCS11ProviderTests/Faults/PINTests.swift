import Foundation
import KMSCore
import PKCS11Provider
import Synchronization
import TestSupport
import Testing

@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct PINTests {
  @Test func theLastTryIsNotMade() async throws {
    let module = try FaultyModule("pin-tries 2")
    let wrong = try module.impatient(pin: secret("wrong-pin"))
    #expect(await failure { _ = try await wrong.keyVersions(of: nil) }?.code == .accessDenied)
    // The same again, and anew after a restart: not tried.
    #expect(await failure { _ = try await wrong.keyVersions(of: nil) }?.code == .pinLocked)
    await wrong.close()
    let right = try module.impatient()
    let error = await failure { _ = try await right.keyVersions(of: nil) }
    #expect(error?.code == .pinLocked && error?.message.contains("one more wrong PIN locks") == true, "\(error as Any)")
    #expect(module.calls(of: "C_Login") == 1)
    await right.close()
  }

  @Test func aLockedPINIsNotTried() async throws {
    let module = try FaultyModule("pin-tries 1")
    let wrong = try module.impatient(pin: secret("wrong-pin"))
    #expect(await failure { _ = try await wrong.keyVersions(of: nil) }?.code != nil)
    let logins = module.calls(of: "C_Login")
    let error = await failure { _ = try await wrong.keyVersions(of: nil) }
    #expect(error?.code == .pinLocked, "\(error as Any)")
    #expect(module.calls(of: "C_Login") == logins)
    await wrong.close()
  }

  /// Some tokens tell nothing in their flags.
  @Test(arguments: ["CKR_PIN_INCORRECT", "CKR_PIN_INVALID", "CKR_PIN_LEN_RANGE", "CKR_PIN_LOCKED", "CKR_PIN_EXPIRED"])
  func aRefusedPINIsTriedOnce(code: String) async throws {
    let module = try FaultyModule("on C_Login fail \(code)")
    let provider = try module.impatient()
    for _ in 0..<3 { #expect(await failure { _ = try await provider.keyVersions(of: nil) } != nil) }
    #expect(module.calls(of: "C_Login") == 1)
    await provider.close()
  }

  /// It becomes the right one when it is set.
  @Test func aPINThatIsNotSetYetIsNoneThatWasRefused() async throws {
    let module = try FaultyModule("on C_Login fail CKR_USER_PIN_NOT_INITIALIZED")
    let provider = try module.impatient()
    #expect(await failure { _ = try await provider.keyVersions(of: nil) }?.code == .accessDenied)
    try module.control()
    #expect(try await provider.keyVersions(of: nil) == [])
    await provider.close()
  }

  /// A PIN that is refused is no sign that the token is gone.
  @Test(arguments: ["CKR_PIN_EXPIRED", "CKR_PIN_INCORRECT", "CKR_PIN_LOCKED"])
  func noModuleIsStartedAnewForAPIN(code: String) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    let (starts, logins) = (module.calls(of: "C_Initialize"), module.calls(of: "C_Login"))
    try module.control("on C_WrapKey at 1 fail \(code)")
    #expect(await failure { _ = try await provider.wrapOnce(id) } != nil)
    #expect(try await provider.roundTrips(id))
    #expect(module.calls(of: "C_Initialize") == starts && module.calls(of: "C_Login") == logins)
    await provider.close()
  }

  @Test func alreadyLoggedInIsSuccess() async throws {
    let module = try FaultyModule()
    let (one, two) = (try module.impatient(), try module.impatient())
    let id = try await one.makeKey()
    #expect(try await two.roundTrips(id))
    #expect(module.trace.contains("C_Login CKR_USER_ALREADY_LOGGED_IN"))
    await one.close()
    await two.close()
  }

  @Test func aSourceThatGivesNothingIsAnErrorAndNoEmptyPIN() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(pin: secret(""))
    #expect(await failure { _ = try await provider.keyVersions(of: nil) }?.code == .secretUnavailable)
    #expect(module.calls(of: "C_Login") == 0)
    await provider.close()
  }

  @Test(.enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/pkcs11-tool"), "opensc is not installed"))
  func aChangedPINIsPickedUpWithoutARestart() async throws {
    let module = try FaultyModule()
    let pin = Mutex(module.token.pin)
    let provider = try module.impatient(
      pin: SecretSource(description: "test") { SecretBytes(copying: Array(pin.withLock { $0 }.utf8).span) })
    let id = try await provider.makeKey()
    let changed = try await runProcess(
      "/usr/bin/pkcs11-tool",
      [
        "--module", module.token.module, "--token-label", module.token.label, "--login", "--pin", module.token.pin,
        "--change-pin", "--new-pin", "another-pin",
      ])
    try #require(changed.status == 0, "\(changed.error)")
    pin.withLock { $0 = "another-pin" }
    // SoftHSM itself reads the new PIN when it is started anew.
    try module.control("on C_WrapKey at 1 fail CKR_DEVICE_REMOVED")
    #expect(try await provider.roundTrips(id))
    await provider.close()
  }

  /// A key with CKA_ALWAYS_AUTHENTICATE wants a login before each use.
  @Test func aLoginForEachUseIsAnsweredClearly() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    try module.control("on C_WrapKey fail CKR_USER_NOT_LOGGED_IN")
    let error = await failure { _ = try await provider.wrapOnce(id) }
    #expect(
      error?.code == .notSupported && error?.message.contains("CKA_ALWAYS_AUTHENTICATE") == true, "\(error as Any)")
    await provider.close()
  }
}

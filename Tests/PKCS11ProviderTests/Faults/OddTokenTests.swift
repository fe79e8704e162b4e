import Foundation
import KMSCore
import PKCS11Provider
import TestSupport
import Testing

/// Slots, serial numbers and PINs as some tokens have them, and a module that somebody else has started.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct OddTokenTests {
  @Test(arguments: [
    "empty-slot", "read-write-only", "serial 0000000000000000", "missing C_GetMechanismInfo",
    "missing C_GetMechanismList",
    "pin-lengths 0 0",  // told, and not so
    "pin-lengths 4 8",  // and the PIN has 8 bytes
  ])
  func itServesAllTheSame(oddity: String) async throws {
    let module = try FaultyModule(oddity)
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    #expect(try await provider.roundTrips(id))
    try module.control(oddity, "now drop-sessions")
    #expect(try await provider.roundTrips(id))
    await provider.close()
  }

  @Test func aSlotWithoutATokenIsNotListedWhereOneIsMissed() async throws {
    let module = try FaultyModule("empty-slot")
    let uri = try PKCS11URI(parsing: "pkcs11:token=nowhere?module-path=\(module.path)")
    let provider = PKCS11Provider(PKCS11Configuration(name: "hsm", uri: uri, pin: secret(module.token.pin)))
    let error = await failure { _ = try await provider.keyVersions(of: nil) }
    #expect(
      error?.code == .providerUnavailable && error?.advice.contains(module.token.label) == true, "\(error as Any)")
    #expect(error?.advice.contains("''") == false, "\(error as Any)")
    await provider.close()
  }

  @Test func aTokenThatDoesNotSayWhatItIsIsNotJustMissed() async throws {
    let module = try FaultyModule("on C_GetTokenInfo fail CKR_DEVICE_ERROR")
    let provider = try module.impatient()
    let error = await failure { _ = try await provider.keyVersions(of: nil) }
    #expect(error?.code == .providerUnavailable, "\(error as Any)")
    #expect(error?.cause?.contains("C_GetTokenInfo: CKR_DEVICE_ERROR") == true, "\(error as Any)")
    await provider.close()
  }

  /// As when another process' login is writing the token's file while this one starts the module.
  @Test func aTokenThatSoftHSMPassedOverIsLookedForAnew() async throws {
    let module = try FaultyModule("on C_Initialize from 2 delay 1000")
    let tokens = URL(fileURLWithPath: module.token.module).deletingLastPathComponent().appending(path: "tokens")
    let folder = try #require(FileManager.default.contentsOfDirectory(atPath: tokens.path).first)
    let file = tokens.appending(path: folder + "/token.object")
    try FileManager.default.moveItem(at: file, to: file.appendingPathExtension("aside"))
    let provider = try module.provider()
    async let versions = provider.keyVersions(of: nil)
    for _ in 0..<5000 where module.calls(of: "C_Finalize") == 0 { try await Task.sleep(for: .milliseconds(2)) }
    try FileManager.default.moveItem(at: file.appendingPathExtension("aside"), to: file)
    #expect(try await versions.isEmpty)
    await provider.close()
  }

  /// Serial number, model and firmware are the same: what the one can is no sign of what the other can.
  @Test func tokensWithSerialNumbersOfZerosAreTriedOutEach() async throws {
    let zeros = "serial 0000000000000000"
    let (one, two) = (try FaultyModule(zeros), try FaultyModule(zeros, "hide CKM_AES_KEY_WRAP"))
    let pin = SecretSource(description: "test") {
      SecretBytes(copying: Array((one.calls(of: "C_Login") == 0 ? one : two).token.pin.utf8).span)
    }
    let provider = try one.impatient(pin: pin, others: [two])
    #expect(try await provider.wrapOnce(provider.makeKey()).algorithm == .a256KW)
    try one.control(zeros, "absent")
    let id = try await untilItIsOpened { try await provider.makeKey("other") }
    #expect(try await provider.wrapOnce(id).algorithm == .a256GCM)
    await provider.close()
  }

  @Test func twoTokensWithOneLabelAreNotGuessedAt() async throws {
    let module = try FaultyModule()
    try module.token.makeTwin()
    for (line, advice) in [("", "Add serial= to the URI: "), ("serial 0000000000000000", "another label")] {
      try module.control(line)
      let provider = try module.impatient()
      let error = await failure { _ = try await provider.keyVersions(of: nil) }
      #expect(error?.code == .configurationInvalid && error?.advice.contains(advice) == true, "\(error as Any)")
      await provider.close()
    }
    #expect(module.calls(of: "C_Login") == 0)
  }

  /// The first call tells that the token is gone; one that makes a key is not made twice.
  private func untilItIsOpened<R>(_ body: () async throws -> R) async throws -> R {
    while true {
      do { return try await body() } catch let error as KMSError where error.code == .providerUnavailable {
        try await Task.sleep(for: .milliseconds(5))
      }
    }
  }

  @Test func aPINThatIsTooLongForTheTokenIsTriedOnce() async throws {
    let module = try FaultyModule("pin-lengths 4 8")
    let provider = try module.impatient(pin: secret("nine-long"))
    for _ in 0..<2 { #expect(await failure { _ = try await provider.keyVersions(of: nil) }?.code == .accessDenied) }
    #expect(module.trace.filter { $0.hasPrefix("C_Login") } == ["C_Login CKR_PIN_LEN_RANGE"])
    await provider.close()
  }

  /// The flags tell nothing, and wrong PINs of other programs count: the right one is the first to hear of it.
  @Test func aLockThatOnlyTheRightPINHearsOfIsToldAndTriedOnce() async throws {
    let module = try FaultyModule("pin-tries 2", "silent-pin")
    for wrong in ["wrong-1", "wrong-2", "wrong-3"] {
      let provider = try module.impatient(pin: secret(wrong))
      for _ in 0..<2 { #expect(await failure { _ = try await provider.keyVersions(of: nil) }?.code == .accessDenied) }
      await provider.close()
    }
    let provider = try module.impatient()
    #expect(await failure { _ = try await provider.keyVersions(of: nil) }?.code == .pinLocked)
    #expect(await failure { _ = try await provider.keyVersions(of: nil) } != nil)
    let logins = module.trace.filter { $0.hasPrefix("C_Login") }
    #expect(logins == [String](repeating: "C_Login CKR_PIN_INCORRECT", count: 3) + ["C_Login CKR_PIN_LOCKED"])
    await provider.close()
  }

  /// What we did not start we do not end.
  @Test func aModuleThatIsStartedAlreadyIsUsedAndNotEnded() async throws {
    let module = try FaultyModule("on C_Initialize finish CKR_CRYPTOKI_ALREADY_INITIALIZED")
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    #expect(try await provider.roundTrips(id))
    await provider.close()
    #expect(module.trace.contains("C_Initialize CKR_CRYPTOKI_ALREADY_INITIALIZED"))
    #expect(module.calls(of: "C_Finalize") == 0)
  }

  /// SoftHSM ORs into what C_GetMechanismInfo is given, and says of mechanisms that were taken out that they are there.
  @Test func theFlagsOfMechanismsAreNotAskedFor() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    #expect(try await provider.roundTrips(provider.makeKey()))
    #expect(module.calls(of: "C_GetMechanismList") == 0)
    await provider.close()
    let found = try await TokenExamination.run(
      module: module.path, token: module.token.label, pin: secret(module.token.pin), measures: false)
    #expect(found.isUsable && module.calls(of: "C_GetMechanismList") > 0)
    #expect(module.calls(of: "C_GetMechanismInfo") == 0)
  }
}

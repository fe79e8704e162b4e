import KMSCore
import PKCS11Provider
import TestSupport
import Testing

/// What a token fails in while its abilities are tried out is not what it cannot do.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct SelfTestTests {
  private func makes(_ algorithm: WrapAlgorithm, _ provider: PKCS11Provider) async throws {
    let id = try await untilItIsOpened { try await provider.makeKey() }
    #expect(try await provider.wrapOnce(id).algorithm == algorithm)
    #expect(try await provider.roundTrips(id))
  }

  /// A key that is made is not made twice, and a token that did not open is not tried at once.
  private func untilItIsOpened<R>(_ body: () async throws -> R) async throws -> R {
    for _ in 0..<100 {
      do { return try await body() } catch let error as KMSError where error.code == .providerUnavailable {
        try await Task.sleep(for: .milliseconds(5))
      }
    }
    return try await body()
  }

  /// Keys for AES-GCM would be made instead, which any session can decrypt with.
  @Test(
    arguments: ["C_GenerateKey", "C_CreateObject", "C_WrapKey", "C_UnwrapKey"],
    [
      "CKR_DEVICE_MEMORY", "CKR_HOST_MEMORY", "CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_SESSION_HANDLE_INVALID",
      "CKR_DEVICE_ERROR", "CKR_USER_NOT_LOGGED_IN", "0x80000001",
    ])
  func whatPassesMakesNoOtherKeys(function: String, code: String) async throws {
    let provider = try FaultyModule("on \(function) at 1 fail \(code)").impatient()
    try await makes(.a256KW, provider)
    await provider.close()
  }

  @Test(arguments: ["CKR_DEVICE_MEMORY", "CKR_SESSION_HANDLE_INVALID", "CKR_DEVICE_ERROR"])
  func whatLastsKeepsTheTokenFromBeingOpened(code: String) async throws {
    let module = try FaultyModule("on C_WrapKey fail \(code)")
    let provider = try module.impatient()
    for _ in 0..<3 {
      #expect(await failure { _ = try await provider.keyVersions(of: nil) }?.code == .providerUnavailable)
    }
    try module.control()
    try await makes(.a256KW, provider)
    await provider.close()
  }

  /// What some say for "cannot": such a token serves, and is asked again whenever a key is made or it is opened.
  @Test(arguments: ["CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "0x80000001"])
  func whatMayMeanAnythingIsNotRemembered(code: String) async throws {
    let module = try FaultyModule("on C_WrapKey fail \(code)")
    let provider = try module.impatient()
    try await makes(.a256GCM, provider)
    try module.control("on C_GenerateKey fail \(code)", "now drop-sessions")
    #expect(try await provider.keyVersions(of: nil).count == 1)
    #expect(await failure { _ = try await provider.makeKey() }?.code == .notSupported)
    try module.control()
    try await makes(.a256KW, provider)
    // Once more: what it said last is known for good.
    try module.control("now drop-sessions")
    #expect(try await provider.keyVersions(of: nil).count == 2)
    let before = module.calls(of: "C_GenerateKey")
    try module.control("now drop-sessions")
    #expect(try await provider.keyVersions(of: nil).count == 2)
    #expect(module.calls(of: "C_GenerateKey") == before)
    await provider.close()
  }

  /// It takes keys out of a session in one way only, and has not said so when it was opened.
  private static let odd =
    "refuse CKA_EXTRACTABLE in C_UnwrapKey CKR_ATTRIBUTE_READ_ONLY\nmake CKA_EXTRACTABLE=true in C_UnwrapKey\n"
    + "make CKA_EXTRACTABLE=true in C_CreateObject"

  /// Keys would be wrapped that are not unwrapped again.
  @Test func howKeysAreTakenOutHoldsFromWhenItIsFound() async throws {
    let module = try FaultyModule(Self.odd, "on C_WrapKey fail CKR_FUNCTION_FAILED")
    let provider = try module.impatient(reopenInterval: .seconds(1000))
    #expect(try await provider.keyVersions(of: nil) == [])
    try module.control(Self.odd)
    try await makes(.a256KW, provider)
    // Found once, it is known.
    try module.control(Self.odd, "now drop-sessions", "on C_GenerateKey fail CKR_FUNCTION_FAILED")
    let id = try #require(try await provider.keyVersions(of: nil).first?.id)
    #expect(try await provider.roundTrips(id))
    await provider.close()
  }

  /// A process that makes no keys, and opens what another has wrapped.
  @Test func itIsAskedAgainAlsoByWhoMakesNoKeys() async throws {
    let module = try FaultyModule(Self.odd, "on C_WrapKey fail CKR_FUNCTION_FAILED")
    let provider = try module.impatient()
    #expect(try await provider.keyVersions(of: nil) == [])
    let other = try FaultyModule(Self.odd, token: module.token).impatient()
    let id = try await other.makeKey()
    let wrapped = try await other.wrapOnce(id)
    #expect(wrapped.algorithm == .a256KW)
    try module.control(Self.odd)
    try await Task.sleep(for: .milliseconds(5))  // past the interval in which nothing is tried
    _ = try await provider.unwrap(wrapped, under: id, aad: boundData)
    await other.close()
    await provider.close()
  }

  /// Where records are labels, a compromised key whose record is not looked for looks deactivated.
  @Test(arguments: ["CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_DEVICE_MEMORY", "CKR_SESSION_CLOSED"])
  func recordsAreFoundWhateverTheTokenSaysToDataObjects(code: String) async throws {
    let noData = "refuse CKA_APPLICATION in C_CreateObject"
    let module = try FaultyModule(noData)
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    _ = try await provider.setState(.compromised, of: id)
    await provider.close()
    try module.control("\(noData) \(code)")
    let other = try module.impatient()
    let opens = ["CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED"].contains(code)
    let versions = try? await other.keyVersions(of: nil)
    #expect(versions?.map(\.state) == (opens ? [.compromised] : nil))
    try module.control(noData)
    #expect(try await untilItIsOpened { try await other.keyVersions(of: nil) }.map(\.state) == [.compromised])
    #expect(try await other.setState(.destroyed, of: id).state == .destroyed)
    await other.close()
  }

  /// Tried out when it is first needed.
  @Test(arguments: ["CKR_SESSION_HANDLE_INVALID", "CKR_GENERAL_ERROR", "CKR_DEVICE_ERROR"])
  func whoseIVIsUsedIsAskedAgain(code: String) async throws {
    let module = try FaultyModule("gcm-iv overwrite")
    let provider = try module.impatient()
    let id = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("direct"), purpose: .encrypt)).id
    try module.control("gcm-iv overwrite", "on C_GenerateKey at 1 fail \(code)")
    let text = SecretBytes.random(count: 20)
    let bytes = text.unprotectedCopy()
    let sealed = try await provider.encrypt(bytes.span, under: id, aad: boundData)
    let back = try await provider.decrypt(sealed, under: id, aad: boundData)
    let isSame = back.equals(text)
    #expect(isSame)
    await provider.close()
  }
}

import KMSCore
import PKCS11Provider
import TestSupport
import Testing

/// Sessions, their login and their slot's number go, and the token itself is still there.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct LostSessionTests {
  @Test(arguments: ["now drop-sessions", "now logout", "slots 7\nnow drop-sessions"])
  func allSessionsAreOpenedAnew(fault: String) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(reopenInterval: .seconds(1000))
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    // Many times: it is no module that is started anew, so it need not wait.
    for _ in 0..<3 {
      try module.control(fault)
      #expect(try await provider.roundTrips(id))
    }
    await provider.close()
  }

  /// Without a login a token finds no keys, and calls that a success.
  @Test func aLoginThatIsLostIsNoTokenWithoutKeys() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(reopenInterval: .seconds(1000))
    try module.control("on C_GetSessionInfo at 1 logout")
    let id = try await provider.makeKey()
    for function in ["C_FindObjectsInit", "C_FindObjects", "C_GetAttributeValue", "C_FindObjectsFinal"] {
      try module.control("on \(function) at 1 logout")
      #expect(try await provider.keyVersions(of: nil).map(\.id) == [id], "\(function)")
    }
    try module.control("now logout")
    #expect(try await provider.keyVersions(of: nil).map(\.id) == [id])
    #expect(try await provider.roundTrips(id))
    await provider.close()
    try module.control("missing C_GetSessionInfo")
    let other = try module.impatient()
    #expect(try await other.roundTrips(id))
    await other.close()
  }

  /// The only session is given up after a failure; the slot that the next would be opened in has another number by now.
  @Test func aSlotThatIsRenumberedBetweenTwoSessionsIsFound() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(reopenInterval: .seconds(1000))
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    try module.control("slots 7", "on C_WrapKey at 1 fail CKR_FUNCTION_FAILED")
    _ = await failure { _ = try await provider.wrapOnce(id) }
    #expect(try await provider.roundTrips(id))
    await provider.close()
  }
}

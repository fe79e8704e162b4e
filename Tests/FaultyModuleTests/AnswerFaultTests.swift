internal import CP11Kit
import Foundation
import TestSupport
import Testing

/// Faults in answers: how much there is, how long it is, and what it is called.
@Suite(.serialized, .enabled(if: FaultyModule.isAvailable, "SoftHSM or a C compiler is not installed"))
struct AnswerFaultTests {
  private let faulty: FaultyModule
  private let token: PlainToken

  private static let shared = Result { try SoftHSM.makeToken() }

  init() throws {
    faulty = try FaultyModule(token: Self.shared.get())
    token = try PlainToken(faulty)
  }

  private func key() throws -> UInt {
    var key: UInt = 0
    let uses: [(UInt, PlainToken.Value)] = [
      (CKA_ENCRYPT, .flag(true)), (CKA_DECRYPT, .flag(true)), (CKA_EXTRACTABLE, .flag(true)),
    ]
    try #require(token.generate(uses, into: &key) == CKR_OK)
    return key
  }

  @Test func objectsComeInPortions() throws {
    for _ in 0..<5 { _ = try key() }
    #expect(token.find().count >= 5)
    try faulty.control("portions 2")
    #expect(token.find().count == 2)
  }

  @Test func ofSeveralAttributesTheFirstIsSet() throws {
    let key = try key()
    try faulty.control("one-attribute")
    #expect(
      token.set([(CKA_WRAP, .flag(false)), (CKA_UNWRAP, .flag(false))], of: key) == CKR_TEMPLATE_INCONSISTENT)
    #expect(token.attribute(CKA_WRAP, of: key) == [0] && token.attribute(CKA_UNWRAP, of: key) == [1])
    #expect(token.set(CKA_UNWRAP, .flag(false), of: key) == CKR_OK)
  }

  @Test func aCallThatIsMadeSaysThatItFailed() throws {
    let key = try key()
    try faulty.control("on C_SetAttributeValue finish CKR_FUNCTION_FAILED")
    #expect(token.set(CKA_WRAP, .flag(false), of: key) == CKR_FUNCTION_FAILED)
    #expect(token.attribute(CKA_WRAP, of: key) == [0])
    // A call that fails by itself keeps its code.
    #expect(token.set(CKA_WRAP, .flag(false), of: 999_999) == CKR_OBJECT_HANDLE_INVALID)
  }

  @Test func theLengthIsLeftAtTheBuffersOrWrong() throws {
    let key = try key()
    var wrapped: [UInt8] = []
    try faulty.control("on C_WrapKey full-length")
    #expect(token.wrap(key, under: key, into: &wrapped) == CKR_OK && wrapped.count == 128)
    #expect(token.wrappedSize(of: key, under: key) == 40)
    try faulty.control("on C_WrapKey wrong-size")
    #expect(token.wrap(key, under: key, into: &wrapped) == CKR_OK && wrapped.count == 40)
    #expect(token.wrappedSize(of: key, under: key) == 20)
  }

  @Test func gcmIsLookedAtClosely() throws {
    let key = try key()
    try faulty.control("strict-gcm")
    #expect(token.encrypt([1], under: key, iv: [UInt8](repeating: 1, count: 12)).returned == CKR_OK)
    #expect(
      token.encrypt([1], under: key, iv: [UInt8](repeating: 1, count: 16)).returned == CKR_MECHANISM_PARAM_INVALID)
    let wrongBits = token.encrypt([1], under: key, iv: [UInt8](repeating: 1, count: 12), ivBits: 12)
    #expect(wrongBits.returned == CKR_MECHANISM_PARAM_INVALID)
  }

  @Test func pinsHaveLengths() throws {
    _ = token.functions.C_Logout(token.session)
    try faulty.control("pin-lengths 4 6")
    let info = try #require(token.info(token.slot))
    #expect(info.pinLengths == 4...6)
    #expect(["123", "1234567"].map { token.login($0) } == [CKR_PIN_LEN_RANGE, CKR_PIN_LEN_RANGE])
    #expect(token.login("1234") == CKR_PIN_INCORRECT)
    try faulty.control("pin-lengths 0 0")
    #expect(token.login() == CKR_OK)
  }

  @Test func aLockIsToldToTheRightPINOnly() throws {
    _ = token.functions.C_Logout(token.session)
    try faulty.control("pin-tries 2", "silent-pin")
    for _ in 0..<3 { #expect(token.login("wrong") == CKR_PIN_INCORRECT) }
    let told = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED
    #expect(try #require(token.info(token.slot)).flags & told == 0)
    var key: UInt = 0
    #expect(token.login() == CKR_PIN_LOCKED && token.generate(into: &key) == CKR_USER_NOT_LOGGED_IN)
    try faulty.control()
    #expect(token.login() == CKR_OK)
  }

  @Test func aSlotWithoutATokenStandsFirst() throws {
    let before = try token.slots()
    try faulty.control("empty-slot")
    let slots = try token.slots()
    #expect(Array(slots.dropFirst()) == before && !before.contains(slots[0]))
    var handle: UInt = 0
    #expect(token.info(slots[0]) == nil && token.info(token.slot)?.label == faulty.token.label)
    #expect(token.openSession(&handle) == CKR_OK)
  }

  @Test func sessionsAreReadWriteOnly() throws {
    try faulty.control("read-write-only")
    var handle: UInt = 0
    #expect(token.openSession(&handle) == CKR_OK)
    #expect(token.openSession(&handle, CKF_SERIAL_SESSION) == CKR_FUNCTION_FAILED)
  }

  @Test func aCallThatIsNotAloneIsRefused() async throws {
    try faulty.control("on C_GenerateRandom alone")
    #expect(token.random() == CKR_OK)
    try faulty.control("on C_GetTokenInfo hang", "on C_GenerateRandom alone")
    async let hangs = onThread { [token] in token.info(token.slot)?.label }
    while token.random() != CKR_FUNCTION_REJECTED {}
    try faulty.control("on C_GenerateRandom alone")
    #expect(try await hangs == faulty.token.label)
    #expect(token.random() == CKR_OK)
  }
}

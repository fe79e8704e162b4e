internal import CP11Kit
import Foundation
import Synchronization
import TestSupport
import Testing

/// Each fault of Fixtures/faulty-module, seen as any program would see it.
@Suite(.serialized, .enabled(if: FaultyModule.isAvailable, "SoftHSM or a C compiler is not installed"))
struct FaultTests {
  private let faulty: FaultyModule
  private let token: PlainToken

  /// Faults are each test's own; only handles that are swapped need a token without other keys. One after the other,
  /// as SoftHSM overwrites a token's file at a login.
  private static let shared = Result { try SoftHSM.makeToken() }

  init() throws {
    faulty = try FaultyModule(token: Self.shared.get())
    token = try PlainToken(faulty)
  }

  @Test func theNthOrEveryMthCallFails() throws {
    try faulty.control("on C_GenerateRandom at 2 fail CKR_DEVICE_ERROR")
    #expect((1...4).map { _ in token.random() } == [CKR_OK, CKR_DEVICE_ERROR, CKR_OK, CKR_OK])
    try faulty.control("on C_GenerateRandom every 3 fail CKR_FUNCTION_FAILED")
    #expect((1...6).filter { _ in token.random() == CKR_FUNCTION_FAILED }.count == 2)
    try faulty.control("on * from 3 fail 0x80000001")
    #expect((1...4).map { _ in token.random() } == [CKR_OK, CKR_OK, 0x8000_0001, 0x8000_0001])
    try faulty.control("on C_GenerateRandom percent 20 fail CKR_DEVICE_ERROR", "on C_Login fail CKR_PIN_EXPIRED")
    let failures = (1...400).count { _ in token.random() == CKR_DEVICE_ERROR }
    #expect(failures > 20 && failures < 200)
    #expect(token.login() == CKR_PIN_EXPIRED)
    try faulty.control()
    #expect(token.random() == CKR_OK)
    #expect(faulty.trace.contains("C_GenerateRandom CKR_FUNCTION_FAILED"))
  }

  @Test func sessionsAreDropped() throws {
    var (other, returned) = (UInt(0), UInt(0))
    #expect(token.openSession(&other) == CKR_OK)
    try faulty.control("now drop-sessions")
    #expect(token.random() == CKR_SESSION_HANDLE_INVALID)
    try token.open()
    #expect(token.random() == CKR_OK)
    try faulty.control("on C_GenerateRandom at 2 drop-sessions")
    returned = token.random()
    #expect(returned == CKR_OK && token.random() == CKR_SESSION_HANDLE_INVALID)
    try token.open()
    try faulty.control("now logout")
    var key: UInt = 0
    #expect(token.generate(into: &key) == CKR_USER_NOT_LOGGED_IN)
  }

  @Test func aResetSwapsHandles() throws {
    let faulty = try FaultyModule()
    let token = try PlainToken(faulty)
    let (one, two) = (try tokenKey(1, token), try tokenKey(2, token))
    try faulty.control("now reset")
    #expect(token.random() == CKR_SESSION_HANDLE_INVALID)
    try token.open()
    // The old handles are good, and name the other key.
    #expect(token.attribute(CKA_ID, of: one) == [2] && token.attribute(CKA_ID, of: two) == [1])
    #expect(token.find(id: [1]) == [two] && token.find(id: [2]) == [one])
    var key: UInt = 0
    var wrapped: [UInt8] = []
    #expect(token.create([UInt8](repeating: 7, count: 32), into: &key) == CKR_OK)
    #expect(token.wrap(key, under: one, into: &wrapped) == CKR_OK)
    #expect(token.unwrap(wrapped, under: two, into: &key) != CKR_OK)
    #expect(token.unwrap(wrapped, under: one, into: &key) == CKR_OK)
  }

  private func tokenKey(_ id: UInt8, _ token: PlainToken) throws -> UInt {
    var made: UInt = 0
    try #require(token.generate([(CKA_TOKEN, .flag(true)), (CKA_ID, .bytes([id]))], into: &made) == CKR_OK)
    return made
  }

  @Test func theTokenGoesAndComesBack() throws {
    try faulty.control("absent")
    #expect(token.random() == CKR_DEVICE_REMOVED)
    #expect(try token.slots().isEmpty && token.info(token.slot) == nil)
    var handle: UInt = 0
    #expect(token.openSession(&handle) == CKR_TOKEN_NOT_PRESENT)
    try faulty.control()
    #expect(token.random() == CKR_SESSION_HANDLE_INVALID)
    try token.open()
    #expect(token.random() == CKR_OK)
  }

  @Test func slotsAreRenumberedAndTheSerialChanges() throws {
    let before = token.slot
    try faulty.control("slots 7", "serial 00ff", "firmware 9.8")
    #expect(token.info(before) == nil)
    let info = try #require(token.info(before + 7))
    #expect(info.serial == "00ff" && info.firmware == "9.8" && info.label == faulty.token.label)
    #expect(try token.slots().contains(before + 7))
    var handle: UInt = 0
    #expect(token.openSession(&handle) == CKR_SLOT_ID_INVALID)
  }

  @Test func aCallHangsUntilTheFileChanges() async throws {
    try faulty.control("on C_GenerateRandom hang")
    let hasReturned = Flag()
    async let returned = onThread { [token] in
      let returned = token.random()
      hasReturned.isSet.store(true, ordering: .relaxed)
      return returned
    }
    try await Task.sleep(for: .milliseconds(300))
    let tooEarly = hasReturned.isSet.load(ordering: .relaxed)
    #expect(!tooEarly)
    try faulty.control()
    #expect(try await returned == CKR_OK)
  }

  @Test func callsTakeLonger() throws {
    try faulty.control("on C_GenerateRandom delay 60", "on C_GetTokenInfo hang 60")
    for call in [{ _ = token.random() }, { _ = token.info(token.slot) }] {
      #expect(ContinuousClock().measure(call) >= .milliseconds(60))
    }
  }

  @Test func sessionsAreLimited() throws {
    try faulty.control("session-limit 3")
    var handles = [UInt](repeating: 0, count: 3)
    #expect((0...2).map { token.openSession(&handles[$0]) } == [CKR_OK, CKR_OK, CKR_SESSION_COUNT])
    #expect(token.functions.C_CloseSession(handles[0]) == CKR_OK)
    #expect(token.openSession(&handles[2]) == CKR_OK)
  }

  @Test func wrongPINsAreCountedAndLock() throws {
    try faulty.control("pin-tries 3")
    _ = token.functions.C_Logout(token.session)
    for wrong in 1...3 {
      let flags = try #require(token.info(token.slot)?.flags)
      #expect((flags & CKF_USER_PIN_COUNT_LOW != 0) == (wrong > 1), "\(wrong)")
      #expect((flags & CKF_USER_PIN_FINAL_TRY != 0) == (wrong == 3), "\(wrong)")
      #expect(token.login("wrong") == CKR_PIN_INCORRECT)
    }
    #expect(try #require(token.info(token.slot)?.flags) & CKF_USER_PIN_LOCKED != 0)
    #expect(token.login() == CKR_PIN_LOCKED)
    // The real token was not locked, and the right PIN takes the count back where it is in time.
    try faulty.control()
    #expect(token.login() == CKR_OK)
  }

  @Test(arguments: ["C_SetAttributeValue", "C_WrapKey", "C_GenerateKey"])
  func functionsAreMissing(_ name: String) throws {
    var (key, wrapped) = (UInt(0), [UInt8]())
    #expect(token.generate([(CKA_EXTRACTABLE, .flag(true))], into: &key) == CKR_OK)
    try faulty.control("missing \(name)")
    let returned = [
      "C_SetAttributeValue": token.set(CKA_WRAP, .flag(false), of: key),
      "C_WrapKey": token.wrap(key, under: key, into: &wrapped), "C_GenerateKey": token.generate(into: &key),
    ]
    for (function, value) in returned {
      #expect((value == CKR_FUNCTION_NOT_SUPPORTED) == (function == name), "\(function): \(value)")
    }
  }

  @Test func aMistakeInTheControlFileIsNoFaultThatIsPassedOver() throws {
    try faulty.control("on C_WrapKey somtimes fail CKR_DEVICE_ERROR")
    #expect(token.random() == CKR_GENERAL_ERROR)
  }
}

private final class Flag: Sendable { let isSet = Atomic(false) }

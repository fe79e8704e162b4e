internal import CP11Kit
import Foundation
import KMSCore
import PKCS11Provider
import TestSupport
import Testing

/// `strongroom doctor --module` on SoftHSM and on tokens in bad moods.
@Suite(.serialized, .enabled(if: FaultyModule.isAvailable, "SoftHSM or a C compiler is not installed"))
struct ExaminationTests {
  private static let shared = Result { try SoftHSM.makeToken() }
  private let faulty: FaultyModule

  init() throws { faulty = try FaultyModule(token: Self.shared.get()) }

  private func examine(deadline: Duration = .seconds(60), measures: Bool = false) async throws -> TokenExamination {
    try await TokenExamination.run(
      module: faulty.path, token: faulty.token.label, pin: secret(faulty.token.pin), deadline: deadline,
      measures: measures)
  }

  @Test func aGoodTokenIsFoundGoodAndLeftAsItWas() async throws {
    let token = try PlainToken(faulty)
    let before = token.find()
    let found = try await examine(measures: true)
    #expect(found.isUsable && found.algorithm == .a256KW && found.template == "full", "\(found)")
    #expect(found.gcmIV == "the caller's IV" && found.sessions.count == 65 && !found.sessions.isLimit)
    #expect(found.label == faulty.token.label && found.module == faulty.path && !found.serial.isEmpty)
    // SoftHSM lists OAEP, and knows SHA-1 only.
    #expect(found.trials.map { $0.refusal == nil } == [true, true, false, true], "\(found.trials)")
    #expect(found.quirks.count == 1 && found.quirks[0].contains("SHA-256"), "\(found.quirks)")
    #expect(found.attributes.count == 11 && found.attributes.allSatisfy { $0.value != nil })
    #expect(found.latencies.count == 3 && found.latencies.allSatisfy { 0 < $0.median && $0.median <= $0.p99 })
    #expect(found.scaling.map(\.threads) == [1, 2, 4, 8] && found.scaling.allSatisfy { $0.perSecond > 0 })
    #expect(token.find() == before)
    #expect(!faulty.trace.contains { $0.hasPrefix("C_InitToken") || $0.hasPrefix("C_SetPIN") })
    #expect(faulty.calls(of: "C_Login") <= 2)
  }

  @Test(arguments: [
    ("hide CKM_AES_KEY_WRAP", "A256GCM", "pick nothing"),
    ("list-only CKM_AES_KEY_WRAP", "A256GCM", "it lists CKM_AES_KEY_WRAP, but"),
    ("unlist CKM_AES_KEY_WRAP", "A256KW", "it does not list CKM_AES_KEY_WRAP, but it works"),
    ("gcm-iv suffix", "A256KW", "it picks the IV of AES-GCM itself"),
    ("gcm-iv overwrite", "A256KW", "it picks the IV of AES-GCM itself"),
    ("on C_UnwrapKey wrong-key", "A256GCM", "another key came back"),
    ("missing C_WrapKey", "A256GCM", "CKR_FUNCTION_NOT_SUPPORTED"),
    ("missing C_SetAttributeValue", "A256KW", "it changes no attributes"),
    ("missing C_CopyObject", "A256KW", "it copies no keys"),
    ("session-limit 4", "A256KW", "it gives 4 sessions only"),
    ("refuse CKA_DERIVE in C_GenerateKey", "A256KW", "without CKA_SIGN, CKA_VERIFY and CKA_DERIVE"),
    ("make CKA_EXTRACTABLE=true in C_GenerateKey", "A256KW", "CKA_EXTRACTABLE of a new KEK is true"),
    ("require CKA_VALUE_LEN in C_UnwrapKey", "A256GCM", "C_UnwrapKey"),
  ])
  func aBadMoodIsTold(fault: String, algorithm: String, quirk: String) async throws {
    try faulty.control(fault)
    let found = try await examine()
    #expect(found.algorithm.map { "\($0)" } == algorithm, "\(found.trials)")
    guard quirk != "pick nothing" else { return }
    #expect(found.quirks.contains { $0.contains(quirk) }, "\(found.quirks)")
  }

  /// It says false and gives the key out all the same.
  @Test func aTokenThatLiesIsFoundOut() async throws {
    try faulty.control("make CKA_EXTRACTABLE=true in C_GenerateKey", "say CKA_EXTRACTABLE=false")
    #expect(try await examine().quirks.contains { $0.contains("gives out a KEK") })
  }

  @Test func aTokenWithoutGenerateKeyIsOfNoUse() async throws {
    try faulty.control("missing C_GenerateKey")
    let found = try await examine()
    #expect(!found.isUsable && found.algorithm == nil && found.template == nil && found.scaling.isEmpty)
  }

  @Test func aCallThatHangsEndsIt() async throws {
    try faulty.control("on C_WrapKey from 2 hang")
    let found = try await examine(deadline: .seconds(15))
    try faulty.control()
    #expect(found.quirks.contains { $0.contains("a call hangs (making a key)") }, "\(found.quirks)")
    #expect(found.algorithm == .a256KW)
  }

  @Test func aWrongOrLastPINIsTriedOnceOrNotAtAll() async throws {
    try faulty.control("pin-tries 2")
    for code in [KMSError.Code.accessDenied, .pinLocked] {
      await #expect(throws: KMSError(code, "")) {
        _ = try await TokenExamination.run(module: faulty.path, token: faulty.token.label, pin: secret("wrong-pin"))
      }
    }
    #expect(faulty.calls(of: "C_Login") == 1)
  }
}

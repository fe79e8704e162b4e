internal import CP11Kit
import Foundation
import TestSupport
import Testing

/// Faults in mechanisms, attributes and keys.
@Suite(.serialized, .enabled(if: FaultyModule.isAvailable, "SoftHSM or a C compiler is not installed"))
struct KeyFaultTests {
  private let faulty: FaultyModule
  private let token: PlainToken
  private let kek: UInt
  private let secret = [UInt8](0..<32)

  private static let shared = Result { try SoftHSM.makeToken() }

  init() throws {
    faulty = try FaultyModule(token: Self.shared.get())
    token = try PlainToken(faulty)
    var key: UInt = 0
    try #require(token.generate([(CKA_ENCRYPT, .flag(true)), (CKA_DECRYPT, .flag(true))], into: &key) == CKR_OK)
    kek = key
  }

  private func wrap(by type: UInt = CKM_AES_KEY_WRAP) throws -> (returned: UInt, wrapped: [UInt8]) {
    var (key, wrapped) = (UInt(0), [UInt8]())
    try #require(token.create(secret, into: &key) == CKR_OK)
    return (token.wrap(key, under: kek, by: type, into: &wrapped), wrapped)
  }

  @Test func mechanismsAreHiddenOrOnlyListed() throws {
    for (fault, isListed, works) in [
      ("hide", false, false), ("unlist", false, true), ("list-only", true, false),
    ] {
      try faulty.control("\(fault) CKM_AES_KEY_WRAP")
      #expect(token.mechanisms.contains(CKM_AES_KEY_WRAP) == isListed, "\(fault)")
      #expect(try wrap().returned == (works ? CKR_OK : CKR_MECHANISM_INVALID), "\(fault)")
    }
    #expect(token.mechanisms.contains(CKM_AES_GCM))
  }

  @Test func keyWrapWithPaddingIsRenumbered() throws {
    let (pad, kwp) = (CKM_AES_KEY_WRAP_PAD, UInt(0x210B))
    #expect(try wrap(by: kwp).returned == CKR_MECHANISM_INVALID)
    let before = try wrap(by: pad).wrapped
    try faulty.control("renumber CKM_AES_KEY_WRAP_PAD CKM_AES_KEY_WRAP_KWP")
    #expect(token.mechanisms.contains(kwp) && !token.mechanisms.contains(pad))
    #expect(try wrap(by: kwp).wrapped == before)
    #expect(try wrap(by: pad).returned == CKR_MECHANISM_INVALID)
  }

  @Test(arguments: ["caller", "overwrite", "prefix", "suffix", "suffix-16"])
  func theTokenTreatsTheIVInItsWay(_ way: String) throws {
    try faulty.control("gcm-iv \(way)")
    let zeros = [UInt8](repeating: 0, count: 12)
    let (returned, output, iv) = token.encrypt(secret, under: kek, iv: zeros)
    #expect(returned == CKR_OK)
    let (extra, used, ciphertext): (Int, [UInt8], [UInt8]) =
      switch way {
      case "caller": (0, zeros, output)
      case "overwrite": (0, iv, output)
      case "prefix": (12, Array(output.prefix(12)), Array(output.dropFirst(12)))
      case "suffix": (12, Array(output.suffix(12)), Array(output.dropLast(12)))
      default: (16, Array(output.suffix(16).prefix(12)), Array(output.dropLast(16)))
      }
    #expect(output.count == 48 + extra)
    #expect((used == zeros) == (way == "caller"))
    #expect(token.decrypt(ciphertext, under: kek, iv: used) == secret)
    #expect(way == "caller" || token.decrypt(ciphertext, under: kek, iv: [UInt8](repeating: 1, count: 12)) == nil)
    // Each time another; and only zeros are overwritten.
    let again = token.encrypt(secret, under: kek, iv: zeros)
    #expect((again.output == output) == (way == "caller"))
    let chosen = token.encrypt(secret, under: kek, iv: [UInt8](repeating: 9, count: 12))
    #expect(chosen.returned == (way == "overwrite" ? CKR_MECHANISM_PARAM_INVALID : CKR_OK))
  }

  @Test func anotherKeyIsUnwrapped() throws {
    let wrapped = try wrap().wrapped
    var key: UInt = 0
    #expect(token.unwrap(wrapped, under: kek, into: &key) == CKR_OK && token.attribute(CKA_VALUE, of: key) == secret)
    try faulty.control("on C_UnwrapKey every 2 wrong-key")
    #expect(token.unwrap(wrapped, under: kek, into: &key) == CKR_OK && token.attribute(CKA_VALUE, of: key) == secret)
    #expect(token.unwrap(wrapped, under: kek, into: &key) == CKR_OK)
    let other = try #require(token.attribute(CKA_VALUE, of: key))
    #expect(other.count == 32 && other != secret)
  }

  @Test func outputIsCorrupted() throws {
    let wrapped = try wrap().wrapped
    try faulty.control("on C_WrapKey corrupt", "on C_Encrypt corrupt", "on C_Decrypt at 2 corrupt")
    let damaged = try wrap().wrapped
    #expect(damaged != wrapped && damaged.dropLast() == wrapped.dropLast())
    let iv = [UInt8](repeating: 3, count: 12)
    #expect(token.decrypt(token.encrypt(secret, under: kek, iv: iv).output, under: kek, iv: iv) == nil)
  }

  @Test func attributesAreRefusedOrRequired() throws {
    var key: UInt = 0
    try faulty.control("refuse CKA_LABEL in C_GenerateKey", "refuse CKA_SENSITIVE=false CKR_TEMPLATE_INCONSISTENT")
    #expect(token.generate(into: &key) == CKR_OK)
    #expect(token.generate([(CKA_LABEL, .bytes([0x61]))], into: &key) == CKR_ATTRIBUTE_VALUE_INVALID)
    #expect(token.generate([(CKA_SENSITIVE, .flag(true))], into: &key) == CKR_OK)
    #expect(token.generate([(CKA_SENSITIVE, .flag(false))], into: &key) == CKR_TEMPLATE_INCONSISTENT)
    #expect(token.set(CKA_LABEL, .bytes([0x61]), of: key) == CKR_OK)
    try faulty.control("refuse CKA_LABEL=")
    #expect(token.set(CKA_LABEL, .bytes([0x61]), of: key) == CKR_OK)
    #expect(token.set(CKA_LABEL, .bytes([]), of: key) == CKR_ATTRIBUTE_VALUE_INVALID)
    let wrapped = try wrap().wrapped
    try faulty.control("require CKA_PRIVATE in C_UnwrapKey")
    #expect(token.unwrap(wrapped, under: kek, into: &key) == CKR_TEMPLATE_INCOMPLETE)
    #expect(token.unwrap(wrapped, under: kek, [(CKA_PRIVATE, .flag(true))], into: &key) == CKR_OK)
  }

  @Test func attributesAreMadeOtherwiseOrLiedAbout() throws {
    var key: UInt = 0
    let asked: [(UInt, PlainToken.Value)] = [(CKA_EXTRACTABLE, .flag(false)), (CKA_SENSITIVE, .flag(true))]
    try faulty.control("make CKA_EXTRACTABLE=true in C_GenerateKey")
    #expect(token.generate(asked, into: &key) == CKR_OK)
    #expect(token.attribute(CKA_EXTRACTABLE, of: key) == [1])
    // A token that lies is not found out by reading back, but by wrapping the key.
    try faulty.control("make CKA_EXTRACTABLE=true in C_GenerateKey", "say CKA_EXTRACTABLE=false")
    #expect(token.generate(asked, into: &key) == CKR_OK)
    #expect(token.attribute(CKA_EXTRACTABLE, of: key) == [0])
    var wrapped: [UInt8] = []
    #expect(token.wrap(key, under: kek, into: &wrapped) == CKR_OK)
  }
}

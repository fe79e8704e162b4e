import KMSCore
import PKCS11
import PKCS11Provider
import TestSupport
import Testing

/// Keys of somebody else, from which adoption takes what speaks against them.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct RestrictionTests {
  private static let id: [UInt8] = [0x0A]
  private static let flags: [AttributeType] = [
    .sensitive, .extractable, .encrypt, .decrypt, .sign, .derive, .wrap, .unwrap,
  ]

  /// A key for everything.
  private func makeKey(in module: FaultyModule) throws {
    try module.withSession { session throws(CallFailure) in
      let allowed: [(AttributeType, Template.Value)] = Self.flags.map { ($0, .flag($0 != .sensitive)) }
      _ = try session.generateAES(
        Template(
          allowed + [
            (.token, .flag(true)), (.isPrivate, .flag(true)), (.valueLength, .number(32)), (.id, .bytes(Self.id)),
            (.label, .bytes(Array("theirs".utf8))),
          ]))
    }
  }

  /// Of each key with the id.
  private func flags(in module: FaultyModule) throws -> [[Bool]] {
    try module.withSession { session throws(CallFailure) in
      var flags: [[Bool]] = []
      for key in try session.find(Template([(.objectClass, .number(4)), (.id, .bytes(Self.id))])) {
        flags.append(try session.attributes(of: key, Self.flags).map { $0 == [1] })
      }
      return flags
    }
  }
  private let everything = [false, true, true, true, true, true, true, true]
  private let wrapping = [true, false, false, false, false, false, true, true]

  private func adopt(by provider: PKCS11Provider) async throws -> KeyVersionID {
    let request = NewKeyVersion(key: try KeyName("ours"), purpose: .wrap, id: try KeyVersionID(Self.id))
    return try await provider.adoptKey(request, restricting: true).version.id
  }

  /// SoftHSM overwrites an object's file at each change: killed in one of six, the key would be lost.
  @Test func aKeyIsNotChangedInPlaceWhereThatMayLoseIt() async throws {
    let module = try FaultyModule()
    try makeKey(in: module)
    #expect(try flags(in: module) == [everything])
    let provider = try module.impatient()
    #expect(try await provider.roundTrips(adopt(by: provider)))
    #expect(try flags(in: module) == [wrapping])
    #expect(module.calls(of: "C_SetAttributeValue") == 0)
    await provider.close()
  }

  @Test func aTokenThatCopiesNoKeysChangesThem() async throws {
    let module = try FaultyModule("missing C_CopyObject")
    try makeKey(in: module)
    let provider = try module.impatient()
    #expect(try await provider.roundTrips(adopt(by: provider)))
    #expect(try flags(in: module) == [wrapping])
    await provider.close()
  }

  @Test func aKeyThatDoesNotWorkKeepsItsUses() async throws {
    let module = try FaultyModule("hide CKM_AES_KEY_WRAP")
    try makeKey(in: module)
    let provider = try module.impatient()
    let error = await failure { _ = try await adopt(by: provider) }
    #expect(error?.code == .notSupported, "\(error as Any)")
    #expect(try flags(in: module) == [everything])
    #expect(try await provider.keyVersions(of: nil) == [])
    await provider.close()
  }

  /// The copy stands beside the key: they are one, and not two with the same id.
  @Test func aRestrictionThatWasCutOffIsCompleted() async throws {
    let module = try FaultyModule()
    try makeKey(in: module)
    let provider = try module.impatient()
    _ = try await provider.adoptableKeys()
    try module.control("on C_DestroyObject fail CKR_FUNCTION_FAILED")
    #expect(await failure { _ = try await adopt(by: provider) } != nil)
    try module.control()
    #expect(try Set(flags(in: module)) == [everything, wrapping])
    let offered = try await provider.adoptableKeys()
    #expect(offered.count == 1 && offered[0].obstacles.allSatisfy(\.isRemovable), "\(offered)")
    #expect(try await provider.roundTrips(adopt(by: provider)))
    #expect(try flags(in: module) == [wrapping])
    await provider.close()
  }
}

import KMSCore
import PKCS11
import PKCS11Provider
import TestSupport
import Testing

/// What comes out of a token, how long it says that it is, and what comes of a buffer that is too small.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct OutputTests {
  private static let calls: [(WrapAlgorithm, String)] = [
    (.a256KW, "C_WrapKey"), (.a256GCM, "C_Encrypt"), (.a256GCM, "C_Decrypt"), (.rsaOAEPSHA1, "C_Decrypt"),
  ]

  /// One token answers such questions wrongly.
  @Test(arguments: calls) func theTokenIsNotAskedHowLongItsOutputWillBe(algorithm: WrapAlgorithm, call: String)
    async throws
  {
    let module = try FaultyModule("on \(call) wrong-size")
    let provider = try module.impatient(algorithms: [algorithm])
    let id = try await provider.makeKey()
    #expect(try await provider.roundTrips(id))
    let before = module.calls(of: call)
    #expect(try await provider.roundTrips(id))
    #expect(module.calls(of: call) == before + 1)
    await provider.close()
  }

  /// A key has 32 bytes, whatever the length says.
  @Test func aLengthLeftAtTheBuffersSizeByRSADoesNoHarm() async throws {
    let module = try FaultyModule("on C_Decrypt full-length")
    let provider = try module.impatient(algorithms: [.rsaOAEPSHA1])
    let id = try await provider.makeKey()
    #expect(try await provider.roundTrips(id))
    await provider.close()
  }

  /// `fail` leaves the operation active, `finish` does not: the session is closed after either.
  @Test(arguments: ["fail", "finish"], ["C_Encrypt", "C_Decrypt"])
  func aBufferThatIsTooSmallEndsTheSessionAndNothingElse(action: String, call: String) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(maxSessions: 1, algorithms: [.a256GCM])
    let id = try await provider.makeKey()
    #expect(try await provider.roundTrips(id))
    let (opened, logins) = (module.calls(of: "C_OpenSession"), module.calls(of: "C_Login"))
    try module.control("on \(call) at 1 \(action) CKR_BUFFER_TOO_SMALL")
    let error = await failure { _ = try await provider.roundTrips(id) }
    #expect(error?.cause?.contains("CKR_BUFFER_TOO_SMALL") == true, "\(error as Any)")
    for _ in 0..<3 { #expect(try await provider.roundTrips(id)) }
    #expect(!module.trace.contains { $0.hasSuffix("CKR_OPERATION_ACTIVE") })
    #expect(module.calls(of: "C_OpenSession") == opened + 1 && module.calls(of: "C_Login") == logins)
    await provider.close()
  }

  /// CKR_BUFFER_TOO_SMALL from C_GetAttributeValue: the other attributes are there.
  @Test func aLabelThatIsTooLongHidesNoKey() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    try module.withSession { session throws(CallFailure) in
      _ = try session.generateAES(
        Template([
          (.token, .flag(true)), (.id, .bytes([7])), (.valueLength, .number(32)),
          (.label, .bytes([UInt8](repeating: 0x61, count: 1000))),
        ]))
    }
    #expect(try await provider.keyVersions(of: nil).map(\.id) == [id])
    #expect(module.trace.contains("C_GetAttributeValue CKR_BUFFER_TOO_SMALL"))
    #expect(try await provider.roundTrips(id))
    await provider.close()
  }

  /// ulIvBits that is not 8 * ulIvLen, other IVs than of 12 bytes, other tags than of 128 bits and no AAD are refused here.
  @Test(arguments: ["caller", "overwrite", "prefix", "suffix"])
  func theParametersOfGCMAreWhole(way: String) async throws {
    let module = try FaultyModule("strict-gcm", "gcm-iv \(way)")
    let provider = try module.impatient(algorithms: [.a256GCM])
    let id = try await provider.makeKey()
    #expect(try await provider.roundTrips(id))
    let direct = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("direct"), purpose: .encrypt)).id
    let sealed = try await provider.encrypt([1, 2, 3].span, under: direct, aad: boundData)
    #expect(try await provider.decrypt(sealed, under: direct, aad: boundData).unprotectedCopy() == [1, 2, 3])
    #expect(!module.trace.contains { $0.hasSuffix("CKR_MECHANISM_PARAM_INVALID") })
    await provider.close()
  }

  /// SoftHSM 2.6.1 crashes on GCM without AAD: it is not asked.
  @Test func gcmWithoutBoundDataIsRefusedBeforeTheToken() async throws {
    let module = try FaultyModule("strict-gcm")
    let provider = try module.impatient(algorithms: [.a256GCM])
    let id = try await provider.makeKey()
    let wrapped = try await provider.wrapOnce(id)
    func count() -> Int { module.calls(of: "C_EncryptInit") + module.calls(of: "C_DecryptInit") }
    let before = count()
    let wrapping = await failure { _ = try await provider.wrap(SecretBytes.random(count: 32), under: id, aad: []) }
    #expect(wrapping?.code == .invalidInput, "\(wrapping as Any)")
    let unwrapping = await failure { _ = try await provider.unwrap(wrapped, under: id, aad: []) }
    #expect(unwrapping?.code == .doesNotOpen, "\(unwrapping as Any)")
    #expect(count() == before)
    await provider.close()
  }
}

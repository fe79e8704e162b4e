import KMSCore
import PKCS11Provider
import TestSupport
import Testing

/// Tokens on which AES Key Wrap does not work, or not as usual.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct StrategyTests {
  /// Whether keys wrap by this algorithm, in all states, and nothing is left in the end.
  private func works(_ module: FaultyModule, _ algorithm: WrapAlgorithm, _ order: [WrapAlgorithm]? = nil) async throws {
    let provider = try module.impatient(algorithms: order ?? PKCS11Configuration.defaultWrapAlgorithms)
    let id = try await provider.makeKey()
    let secret = SecretBytes.random(count: 32)
    let wrapped = try await provider.wrap(secret, under: id, aad: boundData)
    #expect(wrapped.algorithm == algorithm)
    // Another process learns from the token what the key wraps by.
    let other = try module.impatient()
    let back = try await other.unwrap(wrapped, under: id, aad: boundData)
    let same = back.equals(secret)
    #expect(same)
    #expect(try await other.keyVersions(of: nil).map(\.purpose) == [.wrap])
    for state in [KeyState.deactivated, .suspended, .active, .deactivated] {
      _ = try await provider.setState(state, of: id)
      #expect(try await other.keyVersions(of: nil).map(\.state) == [state])
      let mayWrap = await failure { _ = try await provider.wrapOnce(id) }
      #expect(mayWrap?.code == (state == .active ? nil : .keyStateForbids), "\(state): \(mayWrap as Any)")
      let mayUnwrap = await failure { _ = try await provider.unwrap(wrapped, under: id, aad: boundData) }
      #expect(mayUnwrap?.code == (state == .suspended ? .keyStateForbids : nil), "\(state): \(mayUnwrap as Any)")
    }
    var changed = wrapped.bytes
    changed[20] ^= 1
    let bad = WrappedKey(algorithm: algorithm, iv: wrapped.iv, bytes: changed)
    #expect(await failure { _ = try await provider.unwrap(bad, under: id, aad: boundData) }?.code == .doesNotOpen)
    #expect(try await provider.strayObjectCount() == 0)
    _ = try await provider.setState(.destroyed, of: id)
    #expect(try await provider.keyVersions(of: nil) == [])
    #expect(try await provider.strayObjectCount() == 0)
    #expect(try await provider.sessionObjectCount() == 0)
    await other.close()
    await provider.close()
  }

  @Test func keyWrapIsTheFirstChoice() async throws { try await works(try FaultyModule(), .a256KW) }

  @Test(arguments: ["caller", "overwrite", "prefix", "suffix"])
  func gcmWithEachIV(way: String) async throws {
    try await works(try FaultyModule("hide CKM_AES_KEY_WRAP", "gcm-iv \(way)"), .a256GCM)
  }

  /// An envelope has room for 12 bytes: the token's own IV would be lost.
  @Test func anIVOf16BytesIsNotUsed() async throws {
    let module = try FaultyModule("hide CKM_AES_KEY_WRAP", "gcm-iv suffix-16")
    let provider = try module.impatient()
    let error = await failure { _ = try await provider.makeKey() }
    #expect(error?.code == .notSupported && error?.cause?.contains("16 bytes") == true, "\(error as Any)")
    await provider.close()
  }

  @Test(arguments: [
    "hide CKM_AES_KEY_WRAP", "list-only CKM_AES_KEY_WRAP", "missing C_WrapKey", "on C_UnwrapKey wrong-key",
    "make CKA_SENSITIVE=true in C_UnwrapKey",  // it hands out no unwrapped key
    "require CKA_VALUE_LEN in C_UnwrapKey",  // and SoftHSM behind it takes none
    "refuse CKA_SENSITIVE=false in C_UnwrapKey",  // and SoftHSM's own default is true
    "on C_WrapKey full-length",  // it could not be told how much of it is the key
  ])
  func whatTheTokenCannotDoIsNotChosen(fault: String) async throws {
    let provider = try FaultyModule(fault).impatient()
    let id = try await provider.makeKey()
    #expect(try await provider.wrapOnce(id).algorithm == .a256GCM)
    #expect(try await provider.roundTrips(id))
    await provider.close()
  }

  @Test func theOrderIsConfigured() async throws {
    try await works(try FaultyModule(), .a256GCM, [.a256GCM, .a256KW])
  }

  /// SoftHSM has OAEP with SHA-1 only.
  @Test func oaepWithSHA1OnRequestOnly() async throws {
    let module = try FaultyModule("hide CKM_AES_KEY_WRAP", "hide CKM_AES_GCM")
    let provider = try module.impatient()
    let error = await failure { _ = try await provider.makeKey() }
    #expect(error?.code == .notSupported)
    for algorithm in PKCS11Configuration.defaultWrapAlgorithms {
      #expect(error?.cause?.contains("\(algorithm)") == true, "\(error as Any)")
    }
    await provider.close()
    try await works(module, .rsaOAEPSHA1, [.a256KW, .a256GCM, .rsaOAEP256, .rsaOAEPSHA1])
  }

  /// The token's abilities are tried out once for its serial number and firmware.
  @Test func reopeningTriesNothingOutAnew() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    let before = module.calls(of: "C_GenerateKey")
    for _ in 0..<3 {
      try module.control("now drop-sessions")
      #expect(try await provider.roundTrips(id))
    }
    #expect(module.calls(of: "C_GenerateKey") == before)
    try module.control("firmware 9.9", "now drop-sessions")
    #expect(try await provider.roundTrips(id))
    #expect(module.calls(of: "C_GenerateKey") > before)
    await provider.close()
  }

  @Test(arguments: [
    "refuse CKA_DERIVE in C_GenerateKey CKR_ATTRIBUTE_TYPE_INVALID", "refuse CKA_PRIVATE in C_GenerateKey",
    "refuse CKA_SIGN in C_GenerateKey CKR_TEMPLATE_INCONSISTENT",
    "refuse CKA_VALUE_LEN in C_UnwrapKey",
    "refuse CKA_PRIVATE in C_UnwrapKey", "refuse CKA_LABEL=",
    // Readable by default, and no word about it.
    "refuse CKA_EXTRACTABLE in C_UnwrapKey CKR_ATTRIBUTE_READ_ONLY\nmake CKA_EXTRACTABLE=true in C_UnwrapKey\n"
      + "make CKA_EXTRACTABLE=true in C_CreateObject",
    // Three tokens have three defaults of these.
    "require CKA_SENSITIVE in C_GenerateKey\nrequire CKA_EXTRACTABLE in C_GenerateKey",
    "require CKA_SENSITIVE in C_UnwrapKey\nrequire CKA_EXTRACTABLE in C_UnwrapKey",
    "require CKA_PRIVATE in C_GenerateKey\nrequire CKA_PRIVATE in C_UnwrapKey\nrequire CKA_PRIVATE in C_CreateObject",
  ])
  func templatesFallBack(fault: String) async throws {
    let provider = try FaultyModule(fault).impatient()
    let id = try await provider.makeKey()
    #expect(try await provider.wrapOnce(id).algorithm == .a256KW)
    #expect(try await provider.roundTrips(id))
    await provider.close()
  }

  @Test(arguments: ["CKA_ID", "CKA_LABEL"])
  func aRefusedAttributeIsNamed(attribute: String) async throws {
    let provider = try FaultyModule("refuse \(attribute) in C_GenerateKey").impatient()
    let error = await failure { _ = try await provider.makeKey() }
    #expect(error?.cause?.contains(attribute) == true, "\(error as Any)")
    #expect(try await provider.strayObjectCount() == 0)
    await provider.close()
  }

  @Test(arguments: [
    "say CKA_EXTRACTABLE=true", "say CKA_SENSITIVE=false", "say CKA_ALWAYS_SENSITIVE=false",
    "say CKA_NEVER_EXTRACTABLE=false", "say CKA_LOCAL=false", "make CKA_EXTRACTABLE=true in C_GenerateKey",
    "say CKA_PRIVATE=false", "make CKA_PRIVATE=false in C_GenerateKey", "say CKA_DERIVE=true",
  ])
  func aKeyThatIsNotAsAskedForIsDestroyedAgain(fault: String) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    #expect(try await provider.keyVersions(of: nil) == [])
    try module.control(fault)
    let error = await failure { _ = try await provider.makeKey() }
    #expect(error?.code == .tokenNotTrustworthy, "\(error as Any)")
    #expect(fault.contains(error?.cause?.split(separator: " ").first ?? "-"), "\(error as Any)")
    try module.control()
    #expect(try await provider.strayObjectCount() == 0)
    await provider.close()
  }
}

import KMSCore
import PKCS11Provider
import TestSupport
import Testing

/// Rewrapping many keys in one call, of which the token's state may change meanwhile.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct RewrapTests {
  // Of the bytes C0 to DF (RFC 9679), as in the provider contract.
  private let thumbprint: [UInt8] = [
    0x6B, 0x5E, 0x61, 0xC6, 0x8E, 0x23, 0xC1, 0xB3, 0x9B, 0xAD, 0xE6, 0xE5, 0x1E, 0xFA, 0xE4, 0x16, 0x33, 0x8F, 0xAE,
    0x91, 0xC9, 0x2D, 0xF5, 0x12, 0x78, 0x34, 0xCD, 0x6A, 0x51, 0xFD, 0xBB, 0xBD,
  ]

  /// As with single calls, a copy that was made before the change is of no use once the change has returned.
  @Test(.timeLimit(.minutes(2))) func aStricterStateHoldsForTheRestOfABatch() async throws {
    let module = try FaultyModule()
    let (provider, other) = (try module.impatient(), try module.token.provider())
    let (old, new) = (try await provider.makeKey("old"), try await provider.makeKey("new"))
    var keys: [RewrapRequest] = []
    for _ in 0..<16 {
      let wrapped = try await provider.wrap(
        SecretBytes(copying: [UInt8](0xC0...0xDF).span), under: old, aad: boundData)
      keys.append(RewrapRequest(wrapped, thumbprint: thumbprint, aad: boundData))
    }
    _ = try await provider.wrapOnce(new)
    #expect(try await provider.rewrap(keys, from: old, to: new).allSatisfy { (try? $0.get()) != nil })
    let before = module.calls(of: "C_WrapKey")
    try module.control("on C_WrapKey at 3 hang")
    async let error = failure { _ = try await provider.rewrap(keys, from: old, to: new) }
    for _ in 0..<5000 where module.calls(of: "C_WrapKey") < before + 2 { try await Task.sleep(for: .milliseconds(2)) }
    _ = try await other.setState(.deactivated, of: new)
    try module.control()
    let outcome = await error
    #expect(outcome?.code == .keyStateForbids, "\(outcome as Any)")
    await provider.close()
    await other.close()
  }
}

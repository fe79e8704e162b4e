import KMSCore
import PKCS11Provider
import Synchronization
import TestSupport
import Testing

/// Several tokens in a list, as members of a cluster are.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct FailoverTests {
  /// Puts a key into the token.
  private func put(_ material: borrowing SecretBytes, _ request: NewKeyVersion, into module: FaultyModule) async throws
  {
    let provider = try module.impatient(pin: secret(module.token.pin))
    _ = try await provider.importKeyVersion(request, material: material)
    await provider.close()
  }

  /// The tokens of the tests differ in their PINs: the second is asked for once the first is gone.
  private final class Pair: Sendable {
    let (one, two): (FaultyModule, FaultyModule)
    private let isGone = Mutex(false)

    init() throws { (one, two) = (try FaultyModule(), try FaultyModule()) }

    var pin: SecretSource {
      SecretSource(description: "test") { [self] in
        let pin = isGone.withLock { $0 } ? two.token.pin : one.token.pin
        return SecretBytes(copying: Array(pin.utf8).span)
      }
    }

    func takeOutTheFirst() throws {
      isGone.withLock { $0 = true }
      try one.control("absent")
    }
  }

  @Test func theNextTokenServesWhenOneIsGone() async throws {
    let pair = try Pair()
    let (one, two, pin) = (pair.one, pair.two, pair.pin)
    let material = SecretBytes.random(count: 32)
    let request = NewKeyVersion(key: try KeyName("shared"))
    try await put(material, request, into: one)
    try await put(material, request, into: two)
    let provider = try one.impatient(pin: pin, others: [two])
    let wrapped = try await provider.wrapOnce(request.id)
    #expect(await provider.health().detail.contains("'\(one.token.label)'"))
    try pair.takeOutTheFirst()
    _ = try await provider.unwrap(wrapped, under: request.id, aad: boundData)
    let health = await provider.health()
    #expect(health.isServing && health.detail.contains("token '\(two.token.label)'"), "\(health.detail)")
    #expect(health.detail.contains("'\(one.token.label)': "), "\(health.detail)")
    // Both gone: the error names both.
    try two.control("absent")
    let error = await failure { _ = try await provider.wrapOnce(request.id) }
    #expect(error?.code == .providerUnavailable, "\(error as Any)")
    let text = await provider.health().detail
    #expect(text.contains(one.token.label) && text.contains(two.token.label), "\(text)")
    await provider.close()
  }

  /// The same id, and another key: data wrapped under it would be lost.
  @Test func anotherKeyInTheSamePlaceIsFoundOut() async throws {
    let pair = try Pair()
    let (one, two, pin) = (pair.one, pair.two, pair.pin)
    let request = NewKeyVersion(key: try KeyName("shared"))
    try await put(.random(count: 32), request, into: one)
    try await put(.random(count: 32), request, into: two)
    let provider = try one.impatient(pin: pin, others: [two])
    _ = try await provider.wrapOnce(request.id)
    try pair.takeOutTheFirst()
    let error = await failure { _ = try await provider.wrapOnce(request.id) }
    #expect(error?.code == .tokenNotTrustworthy && error?.message.contains("\(request.id)") == true, "\(error as Any)")
    await provider.close()
  }

  /// Data would be encrypted that does not open when the first is back.
  @Test func anotherKeyForDirectEncryptionIsFoundOut() async throws {
    let pair = try Pair()
    let (one, two, pin) = (pair.one, pair.two, pair.pin)
    let request = NewKeyVersion(key: try KeyName("shared"), purpose: .encrypt)
    try await put(.random(count: 32), request, into: one)
    try await put(.random(count: 32), request, into: two)
    let provider = try one.impatient(pin: pin, others: [two])
    let text: [UInt8] = [1, 2, 3]
    let sealed = try await provider.encrypt(text.span, under: request.id, aad: boundData)
    try pair.takeOutTheFirst()
    for _ in 0..<2 {
      let errors = [
        await failure { _ = try await provider.encrypt(text.span, under: request.id, aad: boundData) },
        await failure { _ = try await provider.decrypt(sealed, under: request.id, aad: boundData) },
      ]
      #expect(errors.map { $0?.code } == [.tokenNotTrustworthy, .tokenNotTrustworthy], "\(errors)")
    }
    await provider.close()
  }

  @Test func aWrongPINEndsTheSearch() async throws {
    let pair = try Pair()
    let (one, two) = (pair.one, pair.two)
    let provider = try one.impatient(pin: secret("wrong-pin"), others: [two])
    #expect(await failure { _ = try await provider.keyVersions(of: nil) }?.code == .accessDenied)
    #expect(one.calls(of: "C_Login") == 1 && two.calls(of: "C_Login") == 0)
    await provider.close()
  }
}

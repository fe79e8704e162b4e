import KMSCore
import PKCS11Provider
import TestSupport
import Testing

private let aad: [UInt8] = [1]

/// Session copies of KEKs that are used again and again, and states that hold for them as well.
@Suite(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
struct CopiesTests {
  @Test func aBusyKeyIsUsedThroughACopyAndAQuietOneIsNot() async throws {
    let provider = try SoftHSM.makeToken().provider()
    let (busy, quiet) = (try await provider.makeKey("busy"), try await provider.makeKey("quiet"))
    let secret = SecretBytes.random(count: 32)
    _ = try await provider.wrap(secret, under: quiet, aad: aad)
    #expect(try await provider.copyCount() == 0)
    // Eight uses within 50 ms: on a machine that is busy with other things, now and then.
    for _ in 0..<2000 where try await provider.copyCount() == 0 {
      for _ in 0..<10 {
        let wrapped = try await provider.wrap(secret, under: busy, aad: aad)
        let back = try await provider.unwrap(wrapped, under: busy, aad: aad)
        let isSame = back.equals(secret)
        #expect(isSame)
      }
    }
    #expect(try await provider.copyCount() == 1)
    #expect(try await provider.sessionObjectCount() == 0)
    #expect(try await provider.strayObjectCount() == 0)
    await provider.close()
  }

  /// Whoever gets at the token's sessions finds no key there that was taken out of use.
  @Test(.timeLimit(.minutes(1)), arguments: [nil, KeyState.deactivated])
  func aCopyDoesNotOutlastItsUse(state: KeyState?) async throws {
    let provider = try SoftHSM.makeToken().provider()
    let id = try await provider.makeKey("busy")
    let secret = SecretBytes.random(count: 32)
    for _ in 0..<2000 where try await provider.copyCount() == 0 {
      for _ in 0..<20 { _ = try await provider.wrap(secret, under: id, aad: aad) }
    }
    #expect(try await provider.copyCount() == 1)
    if let state {
      // By the change itself.
      _ = try await provider.setState(state, of: id)
    } else {
      for _ in 0..<100 where try await provider.copyCount() > 0 { try await Task.sleep(for: .milliseconds(100)) }
    }
    #expect(try await provider.copyCount() == 0)
    await provider.close()
  }

  @Test(arguments: [KeyState.deactivated, .suspended, .compromised])
  func aStricterStateHoldsWhenItsChangeReturns(state: KeyState) async throws {
    let token = try SoftHSM.makeToken()
    let (one, other) = (try token.provider(), try token.provider())
    let id = try await one.makeKey("busy")
    let busy = Task {
      let secret = SecretBytes.random(count: 32)
      while (try? await one.wrap(secret, under: id, aad: aad)) != nil {}
    }
    for _ in 0..<2000 where try await one.copyCount() == 0 {}
    _ = try await other.setState(state, of: id)
    let secret = SecretBytes.random(count: 32)
    #expect(await failure { _ = try await one.wrap(secret, under: id, aad: aad) }?.code == .keyStateForbids)
    await busy.value
    await one.close()
    await other.close()
  }

  @Test func aDestroyedKeyUnwrapsNothing() async throws {
    let token = try SoftHSM.makeToken()
    let (one, other) = (try token.provider(), try token.provider())
    let id = try await one.makeKey("busy")
    let secret = SecretBytes.random(count: 32)
    let wrapped = try await one.wrap(secret, under: id, aad: aad)
    let busy = Task { while (try? await one.unwrap(wrapped, under: id, aad: aad)) != nil {} }
    for _ in 0..<2000 where try await one.copyCount() == 0 {}
    _ = try await other.setState(.deactivated, of: id)
    _ = try await other.setState(.destroyed, of: id)
    #expect(await failure { _ = try await one.unwrap(wrapped, under: id, aad: aad) }?.code == .keyNotFound)
    await busy.value
    await one.close()
    await other.close()
  }
}

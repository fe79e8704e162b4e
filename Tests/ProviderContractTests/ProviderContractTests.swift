import Foundation
import InMemoryProvider
import KMSCore
import KMSTesting
import OpenSSLProvider
import PKCS11Provider
import Synchronization
import TestSupport
import Testing

/// The one contract on every provider.
struct ProviderContractTests {
  @Test(arguments: ProviderContract.checks)
  func inMemory(check: ProviderContract.Check) async throws {
    try await check.run(ProviderFactory { InMemoryProvider(name: "memory") })
  }

  @Test(arguments: ProviderContract.checks)
  func openSSL(check: ProviderContract.Check) async throws {
    let folder = TemporaryFolder()
    let stores = Stores()
    @Sendable func provider(_ path: String) -> any KMSProvider {
      OpenSSLProvider(OpenSSLConfiguration(name: "local", keystore: path, passphrase: secret("contract passphrase")))
    }
    try await check.run(
      ProviderFactory(reopen: { _ in provider(stores.last(folder)) }) { provider(stores.next(folder)) })
  }

  @Test(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"), arguments: ProviderContract.checks)
  func pkcs11OnSoftHSM(check: ProviderContract.Check) async throws {
    let token = try SoftHSM.makeToken()
    try await check.run(ProviderFactory(reopen: { _ in try token.provider() }) { try token.provider() })
  }

  /// As on a token that has no AES Key Wrap.
  @Test(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"), arguments: ProviderContract.checks)
  func pkcs11ByGCM(check: ProviderContract.Check) async throws {
    let token = try SoftHSM.makeToken()
    @Sendable func provider() throws -> any KMSProvider {
      PKCS11Provider(
        PKCS11Configuration(
          name: "hsm", tokens: [try PKCS11URI(parsing: token.uri)], pin: secret(token.pin), wrapAlgorithms: [.a256GCM]))
    }
    try await check.run(ProviderFactory(reopen: { _ in try provider() }) { try provider() })
  }

  private final class Stores: Sendable {
    private let count = Mutex(0)
    func next(_ folder: TemporaryFolder) -> String {
      count.withLock { $0 += 1 }
      return last(folder)
    }
    func last(_ folder: TemporaryFolder) -> String { "\(folder.path)/keys-\(count.withLock { $0 }).p12" }
  }
}

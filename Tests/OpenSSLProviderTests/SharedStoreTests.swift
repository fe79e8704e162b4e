import Foundation
import KMSCore
import OpenSSLProvider
import Synchronization
import TestSupport
import Testing

/// A store that belongs to a service, and that other processes write to as well.
struct SharedStoreTests {
  private let folder = TemporaryFolder()
  private var path: String { folder.path + "/keys.p12" }
  private var lock: String { path + ".lock" }

  private func provider(_ source: SecretSource = secret("a long passphrase")) -> OpenSSLProvider {
    OpenSSLProvider(OpenSSLConfiguration(name: "local", keystore: path, passphrase: source))
  }

  private func newVersion(_ provider: OpenSSLProvider) async throws -> KeyVersion {
    try await provider.createKeyVersion(NewKeyVersion(key: KeyName("k")))
  }

  @Test("what root changes stays its owner's", .enabled(if: isRoot, "only root may give files away"))
  func owner() async throws {
    _ = try await newVersion(provider())
    for isLockThere in [true, false] {
      for file in [path, lock] { #expect(unsafe chown(file, 12_345, 23_456) == 0) }  // a string, for the call only
      if !isLockThere { try FileManager.default.removeItem(atPath: lock) }
      _ = try await newVersion(provider())
      for file in [path, lock] {
        let attributes = try FileManager.default.attributesOfItem(atPath: file)
        #expect(attributes[.ownerAccountID] as? Int == 12_345 && attributes[.groupOwnerAccountID] as? Int == 23_456)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
      }
    }
  }

  @Test("what a killed writer left holds a key no longer than the store does")
  func leftovers() async throws {
    let store = provider()
    let version = try await newVersion(store)
    let (left, another) = (".keys.p12.1a2b3c.strongroom-partial", ".other.p12.1a2b3c.strongroom-partial")
    for name in [left, another] {
      try FileManager.default.copyItem(atPath: path, toPath: folder.path + "/" + name)
    }
    for state in [KeyState.deactivated, .destroyed] { _ = try await store.setState(state, of: version.id) }
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
    #expect(names.sorted() == [another, "keys.p12", "keys.p12.lock"])
  }
}

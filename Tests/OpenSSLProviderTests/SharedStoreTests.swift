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

  @Test("nobody is asked for a passphrase while others wait for the lock")
  func asked() async throws {
    let wasFree = Mutex<[Bool]>([])
    let source = SecretSource(description: "prompt:") { [lock] in
      let descriptor = unsafe open(lock, O_RDWR | O_CREAT, 0o600)  // a string, for the call only
      defer { close(descriptor) }
      wasFree.withLock { $0.append(flock(descriptor, LOCK_EX | LOCK_NB) == 0) }
      return SecretBytes(copying: Array("a long passphrase".utf8).span)
    }
    for _ in 0..<2 { _ = try await newVersion(provider(source)) }
    #expect(wasFree.withLock { $0 } == [true, true])
  }

  @Test("where the change would fail, nobody is asked at all")
  func notAsked() async throws {
    let source = SecretSource(description: "prompt:") {
      Issue.record("asked")
      return SecretBytes(copying: Array("a long passphrase".utf8).span)
    }
    await #expect(throws: KMSError(.keyNotFound, "")) {
      _ = try await provider(source).setState(.deactivated, of: .make())
    }
  }

  @Test("while another process has the lock, keys are read", .timeLimit(.minutes(2)))
  func reading() async throws {
    let store = provider()
    let version = try await newVersion(store)
    let descriptor = unsafe open(lock, O_RDWR)  // a string, for the call only
    defer { close(descriptor) }
    try #require(flock(descriptor, LOCK_EX) == 0)
    // Should a reader wait after all, it sees the second version in the end.
    DispatchQueue.global().asyncAfter(deadline: .now() + 25) { _ = flock(descriptor, LOCK_UN) }
    let writing = Task.detached { try await newVersion(store) }
    for _ in 0..<10 {
      #expect(try await store.keyVersions(of: nil) == [version])
      try await Task.sleep(for: .milliseconds(20))
    }
    _ = flock(descriptor, LOCK_UN)
    let new = try await writing.value
    #expect(try await store.keyVersions(of: nil) == [version, new])
  }
}

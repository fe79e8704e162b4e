internal import CryptoPrimitives
internal import DurableFiles
internal import Glibc
public import KMSCore
internal import Synchronization
internal import SystemPackage

/// A public RSA key whose private half is kept elsewhere, as a recovery key: it wraps by RSAES-OAEP with SHA-256
/// (RFC 8017), and nothing here unwraps.
///
/// It is one key version, active for as long as it is configured, whose id is the SHA-256 of its
/// SubjectPublicKeyInfo. Whoever has the public key can make such a recipient: it tells who can open, not who sealed.
public final class PublicKeyProvider: KMSProvider {
  public let identity: ProviderIdentity
  private let path: FilePath
  private let key: KeyName

  private struct Loaded: Sendable {
    let rsa: RSAKey
    let version: KeyVersion
    let status: FileStatus
  }
  private let loaded = Mutex<Loaded?>(nil)
  private let closed = Atomic(false)

  /// Opens nothing yet.
  ///
  /// - Parameters:
  ///   - name: the provider's configured name.
  ///   - key: the name that recovery recipients are configured by.
  ///   - pem: path of the public key in PEM.
  public init(name: String, key: KeyName, pem: String) {
    identity = ProviderIdentity(kind: "public-key", name: name)
    self.key = key
    path = FilePath(pem)
  }

  public func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    let version = try load("list-versions").version
    return name == nil || name == key ? [version] : []
  }

  public func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    try InputRules.checkKey(count: key.count)
    let rsa = try find(id, "wrap").rsa
    return WrappedKey(algorithm: .rsaOAEP256, bytes: try key.withBytes { try rsa.encrypt($0) })
  }

  public func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try find(id, "unwrap").version.check(purpose: .wrap, allowing: \.unwraps, operation: "unwrap")
    throw KMSError(.notSupported, "the private key is not here", provider: identity.name, operation: "unwrap")
  }

  public func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try begin("create-version")
    throw KMSError(
      .notSupported, "provider '\(identity.name)' holds one public key and makes none",
      advice: "Make keys in another provider; for another public key configure another provider of its type.",
      provider: identity.name, key: request.key.description, operation: "create-version")
  }

  public func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    let version = try find(id, "set-state").version
    guard state != version.state else { return version }
    throw KMSError(
      .notSupported, "a public key has no states: whoever has it can wrap under it",
      advice: "Take it out of data-at-rest.recovery-recipients; new data is not wrapped to it then.",
      provider: identity.name, key: "\(version.key) \(id)", operation: "set-state")
  }

  public func health() async -> ProviderHealth {
    do {
      let loaded = try load("health")
      return ProviderHealth(
        isServing: true, detail: "RSA public key of \(loaded.rsa.bits) bits in \(path), id \(loaded.version.id)")
    } catch {
      return ProviderHealth(error)
    }
  }

  public func close() async { closed.store(true, ordering: .releasing) }

  private func begin(_ operation: String) throws {
    try Task.checkCancellation()
    guard !closed.load(ordering: .acquiring) else {
      throw KMSError(
        .closed, "the provider was closed", advice: "Open another manager.", provider: identity.name,
        operation: operation)
    }
  }

  /// The key, read again when its file is another one.
  private func load(_ operation: String) throws -> Loaded {
    try begin(operation)
    do {
      guard let status = try FileStatus(path) else {
        throw KMSError(
          .providerUnavailable, "the public key \(path) is not there",
          advice: "Put it there, or take its provider out of the configuration.")
      }
      if let known = loaded.withLock({ $0 }), known.status == status { return known }
      // Whoever can put his own key there reads everything that is encrypted from then on.
      guard status.mode & 0o022 == 0 else {
        throw KMSError(.keyStoreExposed, "others may change the public key \(path)", advice: "Run: chmod go-w \(path)")
      }
      guard status.owner == 0 || status.owner == geteuid() else {
        throw KMSError(
          .keyStoreExposed,
          "the public key \(path) belongs to another account (uid \(status.owner)), which may change it",
          advice: "Give it to root, or to the account that runs this: chown root \(path)")
      }
      let folder = path.removingLastComponent().isEmpty ? "." : path.removingLastComponent()
      if let mode = try FileStatus(folder)?.mode, mode & 0o022 != 0, mode & 0o1000 == 0 {
        throw KMSError(
          .keyStoreExposed, "others may put another file in the place of the public key \(path)",
          advice: "Run: chmod go-w \(folder)")
      }
      let rsa = try RSAKey(publicPEM: readFile(path, limit: 1 << 16), name: path.string)
      let fresh = Loaded(
        rsa: rsa,
        version: KeyVersion(
          id: try KeyVersionID(rsa.fingerprint), key: key, purpose: .recovery, state: .active, enforcement: .suite,
          provider: identity.name), status: status)
      loaded.withLock { $0 = fresh }
      return fresh
    } catch let error as KMSError {
      throw error.adding(provider: identity.name, operation: operation)
    }
  }

  private func find(_ id: KeyVersionID, _ operation: String) throws -> Loaded {
    let loaded = try load(operation)
    guard loaded.version.id == id else {
      throw KMSError(
        .keyNotFound, "there is no key version \(id)", advice: "'strongroom key list' shows what there is.",
        provider: identity.name, operation: operation)
    }
    return loaded
  }
}

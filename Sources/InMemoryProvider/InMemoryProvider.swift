internal import CryptoPrimitives
public import KMSCore
internal import SoftwareKeys
internal import Synchronization

/// Keys in this process' memory: for unit tests, and the contract of ``KMSProvider`` in its plainest form.
public final class InMemoryProvider: KMSProvider, KeyImporting, DirectEncrypting, Signing {
  public let identity: ProviderIdentity
  private let store = Mutex(KeyTable())
  private let closed = Atomic(false)
  private let process = ForkMark.current

  /// - Parameter name: the provider's configured name.
  public init(name: String) { identity = ProviderIdentity(kind: "memory", name: name) }

  public func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    try begin("list-versions")
    return store.withLock { $0.versions(of: name) }
  }

  public func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try begin("create-version")
    try InputRules.checkCreation(request)
    return try insert(request, SecretBytes.random(count: 32))
  }

  public func importKeyVersion(_ request: NewKeyVersion, material: borrowing SecretBytes) async throws -> KeyVersion {
    try begin("import-version")
    try InputRules.checkKEK(material)
    return try insert(request, material.copy())
  }

  private func insert(_ request: NewKeyVersion, _ material: consuming SecretBytes) throws -> KeyVersion {
    let entry = KeyTable.Entry(
      version: KeyVersion(
        id: request.id, key: request.key, purpose: request.purpose, state: .active, enforcement: .suite,
        provider: identity.name), kek: material)
    return try store.withLock { try $0.insert(entry) }
  }

  public func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    try begin("set-state")
    return try store.withLock { try $0.setState(state, of: id, provider: identity.name) }
  }

  public func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    try begin("wrap")
    try InputRules.checkKey(count: key.count)
    let entry = try entry(id, for: [.wrap, .recovery], allowing: \.wraps, "wrap")
    return try SoftwareKeys.wrap(key, kek: entry.kek)
  }

  public func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try begin("unwrap")
    let entry = try entry(id, for: [.wrap], allowing: \.unwraps, "unwrap")
    return try SoftwareKeys.unwrap(wrapped, kek: entry.kek)
  }

  public func encrypt(
    _ plaintext: Span<UInt8>, under id: KeyVersionID, aad: [UInt8]
  ) async throws -> DirectCiphertext {
    try begin("direct-encrypt")
    let entry = try entry(id, for: [.encrypt], allowing: \.wraps, "direct-encrypt")
    return try SoftwareKeys.encrypt(plaintext, aad: aad, kek: entry.kek)
  }

  public func decrypt(_ ciphertext: DirectCiphertext, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes
  {
    try begin("direct-decrypt")
    let entry = try entry(id, for: [.encrypt], allowing: \.unwraps, "direct-decrypt")
    return try SoftwareKeys.decrypt(ciphertext, aad: aad, kek: entry.kek)
  }

  public func signingKey(named name: KeyName) async throws -> SigningKey? {
    try begin("find-signing-key")
    return store.withLock { $0.signer(named: name)?.signingKey }
  }

  public func createSigningKey(named name: KeyName) async throws -> SigningKey {
    try begin("create-signing-key")
    let signer = KeyTable.Signer(id: .make(), name: name, key: try .make())
    store.withLock { $0.insert(signer) }
    return signer.signingKey
  }

  public func sign(_ message: [UInt8], with id: KeyVersionID) async throws -> [UInt8] {
    try begin("sign")
    return try store.withLock { try $0.signer(id, provider: identity.name) }.key.sign(message)
  }

  public func health() async -> ProviderHealth {
    closed.load(ordering: .acquiring)
      ? ProviderHealth(isServing: false, detail: "closed")
      : ProviderHealth(isServing: true, detail: "keys in memory, gone when the process ends")
  }

  public func close() async {
    closed.store(true, ordering: .releasing)
    store.withLock { $0 = KeyTable() }
  }

  private func begin(_ operation: String) throws {
    try Task.checkCancellation()
    guard !closed.load(ordering: .acquiring) else { throw KeyTable.closed(identity.name, operation) }
    guard process == ForkMark.current else {
      throw KMSError(
        .providerUnavailable, "the keys in memory are those of the process that this one was forked from",
        advice: "Make the provider in the process that uses it.", provider: identity.name, operation: operation)
    }
  }

  private func entry(
    _ id: KeyVersionID, for purposes: [KeyPurpose], allowing: (KeyState) -> Bool, _ operation: String
  ) throws -> KeyTable.Entry {
    try store.withLock {
      try $0.entry(id, for: purposes, allowing: allowing, operation: operation, provider: identity.name)
    }
  }
}

internal import CryptoPrimitives
public import KMSCore
internal import SoftwareKeys
internal import Synchronization
internal import SystemPackage

/// Where the key store is and how it is opened.
public struct OpenSSLConfiguration: Sendable {
  /// The provider's configured name.
  public let name: String
  /// Path of the PKCS#12 file.
  public let keystore: String
  /// Where its passphrase is.
  public let passphrase: SecretSource

  /// - Parameters:
  ///   - name: the provider's configured name.
  ///   - keystore: path of the PKCS#12 file; made with the first key. Its folder must be there.
  public init(name: String, keystore: String, passphrase: SecretSource) {
    self.name = name
    self.keystore = keystore
    self.passphrase = passphrase
  }
}

/// Keys in a PKCS#12 key store: for laptops and small servers without an HSM.
///
/// The KEKs are in the process while it runs. Opening takes some tenths of a second (600,000 iterations of PBKDF2,
/// twice), and happens at first use and after another process has changed the store.
public final class OpenSSLProvider: KMSProvider, KeyImporting, DirectEncrypting, Signing {
  public let identity: ProviderIdentity
  private let file: KeyStoreFile

  private struct State {
    var snapshot: KeyStoreFile.Snapshot?
    /// Whose secrets the snapshot holds: in a forked child they are wiped.
    var process = ForkMark.current
    var isClosed = false
  }
  private let state = Mutex(State())

  /// Opens nothing yet.
  public init(_ configuration: OpenSSLConfiguration) {
    identity = ProviderIdentity(kind: "openssl", name: configuration.name)
    file = KeyStoreFile(
      path: FilePath(configuration.keystore), provider: configuration.name, passphrase: configuration.passphrase)
  }

  public func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    try reading("list-versions") { $0.versions(of: name) }
  }

  public func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try InputRules.checkCreation(request)
    return try writing("create-version") { try $0.insert(entry(request, SecretBytes.random(count: 32))) }
  }

  public func importKeyVersion(_ request: NewKeyVersion, material: borrowing SecretBytes) async throws -> KeyVersion {
    try InputRules.checkKEK(material)
    let entry = entry(request, material.copy())
    return try writing("import-version") { try $0.insert(entry) }
  }

  public func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    try writing("set-state") { try $0.setState(state, of: id, provider: identity.name) }
  }

  public func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    try InputRules.checkKey(count: key.count)
    return try SoftwareKeys.wrap(key, kek: entry(id, for: [.wrap, .recovery], allowing: \.wraps, "wrap").kek)
  }

  public func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try SoftwareKeys.unwrap(wrapped, kek: entry(id, for: [.wrap], allowing: \.unwraps, "unwrap").kek)
  }

  public func encrypt(
    _ plaintext: Span<UInt8>, under id: KeyVersionID, aad: [UInt8]
  ) async throws -> DirectCiphertext {
    try SoftwareKeys.encrypt(
      plaintext, aad: aad, kek: entry(id, for: [.encrypt], allowing: \.wraps, "direct-encrypt").kek)
  }

  public func decrypt(_ ciphertext: DirectCiphertext, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes
  {
    try SoftwareKeys.decrypt(
      ciphertext, aad: aad, kek: entry(id, for: [.encrypt], allowing: \.unwraps, "direct-decrypt").kek)
  }

  public func signingKey(named name: KeyName) async throws -> SigningKey? {
    try reading("find-signing-key") { $0.signer(named: name)?.signingKey }
  }

  public func createSigningKey(named name: KeyName) async throws -> SigningKey {
    let signer = KeyTable.Signer(id: .make(), name: name, key: try .make())
    try writing("create-signing-key") { $0.insert(signer) }
    return signer.signingKey
  }

  public func sign(_ message: [UInt8], with id: KeyVersionID) async throws -> [UInt8] {
    try reading("sign") { try $0.signer(id, provider: identity.name).key }.sign(message)
  }

  public func health() async -> ProviderHealth {
    do {
      let count = try reading("health") { $0.all.count }
      return ProviderHealth(isServing: true, detail: "key store \(file.path) with \(count) key versions")
    } catch {
      return ProviderHealth(error)
    }
  }

  public func close() async { state.withLock { $0 = State(isClosed: true) } }

  private func entry(_ request: NewKeyVersion, _ kek: consuming SecretBytes) -> KeyTable.Entry {
    KeyTable.Entry(
      version: KeyVersion(
        id: request.id, key: request.key, purpose: request.purpose, state: .active, enforcement: .suite,
        provider: identity.name), kek: kek)
  }

  private func entry(
    _ id: KeyVersionID, for purposes: [KeyPurpose], allowing: (KeyState) -> Bool, _ operation: String
  ) throws -> KeyTable.Entry {
    try reading(operation) {
      try $0.entry(id, for: purposes, allowing: allowing, operation: operation, provider: identity.name)
    }
  }

  private func reading<Result>(_ operation: String, _ body: (KeyTable) throws -> Result) throws -> Result {
    try naming(operation) { try body(loaded(operation).table) }
  }

  private func writing<Result>(_ operation: String, _ body: (inout KeyTable) throws -> Result) throws -> Result {
    try naming(operation) {
      let known = try loaded(operation) { try file.prepare(&$0, for: body) }
      // Without the state's lock: while another process has the store's, this one reads on.
      let (snapshot, result) = try file.update(from: known, body)
      state.withLock { if !$0.isClosed { $0.snapshot = snapshot } }
      return result
    }
  }

  /// What is there now.
  private func loaded(
    _ operation: String, _ prepare: (inout KeyStoreFile.Snapshot) throws -> Void = { _ in }
  ) throws -> KeyStoreFile.Snapshot {
    try state.withLock { state throws(any Error) in
      guard !state.isClosed else { throw KeyTable.closed(identity.name, operation) }
      if state.process != ForkMark.current { state = State() }
      var snapshot = try state.snapshot.flatMap { try file.hasChanged(since: $0) ? nil : $0 } ?? file.load()
      try prepare(&snapshot)
      state.snapshot = snapshot
      return snapshot
    }
  }

  private func naming<Result>(_ operation: String, _ body: () throws -> Result) throws -> Result {
    try Task.checkCancellation()
    do { return try body() } catch let error as KMSError {
      throw error.adding(provider: identity.name, operation: operation)
    }
  }
}

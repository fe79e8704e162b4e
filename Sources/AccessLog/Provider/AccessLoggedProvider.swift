public import KMSCore

/// A provider whose every call is in the access log.
///
/// A call's result is given out only after its event was taken; when the log cannot take it, the call fails with
/// ``KMSError/Code/accessLogUnavailable`` and the result is dropped. Calls that make or change keys report their
/// intent before, and do nothing when that fails.
///
/// It has every capability; one that the provider inside lacks fails with ``KMSError/Code/notSupported``.
public struct AccessLoggedProvider: KMSProvider, KeyRewrapping, KeyImporting, KeyAdopting, DirectEncrypting, Signing {
  public let identity: ProviderIdentity
  private let base: any KMSProvider
  private let reporter: any AccessReporter
  private var access: Access
  private var key: KeyName?
  private var reason: String?

  /// - Parameters:
  ///   - base: does the work. Nobody else should hold it.
  ///   - reporter: takes one event a call.
  ///   - access: on whose behalf calls are made; without a principal it is the task's ``Access/currentPrincipal``.
  ///   - key: name of the key that calls by version id are about.
  public init(
    _ base: any KMSProvider, reporter: any AccessReporter, access: Access = Access(), key: KeyName? = nil
  ) {
    identity = base.identity
    self.base = base
    self.reporter = reporter
    self.access = access
    self.key = key
  }

  /// The same provider for one call: who makes it, about which key, and why. Nothing is opened or copied but the
  /// value itself.
  public func accessed(by access: Access, key: KeyName? = nil, reason: String? = nil) -> AccessLoggedProvider {
    var provider = self
    provider.access = access
    provider.key = key ?? self.key
    provider.reason = reason
    return provider
  }

  // MARK: KMSProvider

  public func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    let base = base
    return try await call(.listVersions, key: name ?? key).run { try await base.keyVersions(of: name) }
  }

  public func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    let base = base
    return try await call(.createVersion, key: request.key, version: request.id).announced()
      .run { try await base.createKeyVersion(request) }
  }

  public func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    let base = base
    let reason = reason.map { "\(state.rawValue): \($0)" } ?? state.rawValue
    return try await call(.setState, key: key, version: id, reason: reason).announced()
      .run { try await base.setState(state, of: id) }
  }

  public func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    let call = call(.wrap, key: self.key, version: id)
    let wrapped: WrappedKey
    do {
      try call.permit()
      wrapped = try await base.wrap(key, under: id, aad: aad)
    } catch { throw await call.failed(error) }
    try await call.succeeded()
    return wrapped
  }

  public func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    let call = call(.unwrap, key: key, version: id)
    let secret: SecretBytes
    do {
      try call.permit()
      secret = try await base.unwrap(wrapped, under: id, aad: aad)
    } catch { throw await call.failed(error) }
    try await call.succeeded()
    return secret
  }

  /// Logged like every call; when the log does not take it, the provider is said not to serve.
  public func health() async -> ProviderHealth {
    let call = call(.health, key: nil)
    let health = await base.health()
    do {
      try await call.report(health.problem.map { ($0, health.detail) })
      return health
    } catch {
      return ProviderHealth(error)
    }
  }

  /// Closes the provider inside, whatever the log says.
  public func close() async {
    await announceClose()
    await closeUnlogged()
  }

  /// Logs that it is closed. Before it is: then the log can still be signed by it.
  package func announceClose() async {
    try? await call(.close, key: nil).succeeded()  // nothing is given out, and closing must not fail
  }

  /// What follows ``announceClose()``.
  package func closeUnlogged() async { await base.close() }

  // MARK: Capabilities

  /// Whether the provider rewraps without giving the key out. Asking is no call.
  public var rewrapsInside: Bool { base is any KeyRewrapping }

  /// One event a key.
  public func rewrap(
    _ keys: [RewrapRequest], from old: KeyVersionID, to new: KeyVersionID
  ) async throws -> [Result<WrappedKey, KMSError>] {
    let call = call(.rewrap, key: key, version: new)
    let results: [Result<WrappedKey, KMSError>]
    do {
      try call.permit()
      guard let base = base as? any KeyRewrapping else { throw Self.missing("rewrap inside") }
      results = try await base.rewrap(keys, from: old, to: new)
    } catch { throw await call.failed(error) }
    try await call.ended(results)
    return results
  }

  public func importKeyVersion(_ request: NewKeyVersion, material: borrowing SecretBytes) async throws -> KeyVersion {
    let call = try await call(.importVersion, key: request.key, version: request.id).announced()
    let version: KeyVersion
    do {
      guard let base = base as? any KeyImporting else { throw Self.missing("import keys") }
      version = try await base.importKeyVersion(request, material: material)
    } catch { throw await call.failed(error) }
    try await call.succeeded()
    return version
  }

  public func adoptableKeys() async throws -> [AdoptionCandidate] {
    let base = base
    return try await call(.listAdoptable, key: key).run {
      guard let base = base as? any KeyAdopting else { throw Self.missing("adopt keys") }
      return try await base.adoptableKeys()
    }
  }

  public func adoptKey(_ request: NewKeyVersion, restricting: Bool) async throws -> AdoptedKey {
    let base = base
    return try await call(
      .adoptVersion, key: request.key, version: request.id, reason: restricting ? "restricted to its purpose" : nil
    ).announced().run {
      guard let base = base as? any KeyAdopting else { throw Self.missing("adopt keys") }
      return try await base.adoptKey(request, restricting: restricting)
    }
  }

  public func encrypt(_ plaintext: Span<UInt8>, under id: KeyVersionID, aad: [UInt8]) async throws -> DirectCiphertext {
    let call = call(.directEncrypt, key: key, version: id)
    let ciphertext: DirectCiphertext
    do {
      try call.permit()
      guard let base = base as? any DirectEncrypting else { throw Self.missing("encrypt data itself") }
      ciphertext = try await base.encrypt(plaintext, under: id, aad: aad)
    } catch { throw await call.failed(error) }
    try await call.succeeded()
    return ciphertext
  }

  public func decrypt(_ ciphertext: DirectCiphertext, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes
  {
    let call = call(.directDecrypt, key: key, version: id)
    let plaintext: SecretBytes
    do {
      try call.permit()
      guard let base = base as? any DirectEncrypting else { throw Self.missing("decrypt data itself") }
      plaintext = try await base.decrypt(ciphertext, under: id, aad: aad)
    } catch { throw await call.failed(error) }
    try await call.succeeded()
    return plaintext
  }

  public func signingKey(named name: KeyName) async throws -> SigningKey? {
    let base = base
    return try await call(.listVersions, key: name, reason: "signing key").run {
      guard let base = base as? any Signing else { throw Self.missing("sign") }
      return try await base.signingKey(named: name)
    }
  }

  public func createSigningKey(named name: KeyName) async throws -> SigningKey {
    let base = base
    return try await call(.createVersion, key: name, reason: "signing key").announced().run {
      guard let base = base as? any Signing else { throw Self.missing("sign") }
      return try await base.createSigningKey(named: name)
    }
  }

  public func sign(_ message: [UInt8], with id: KeyVersionID) async throws -> [UInt8] {
    let base = base
    return try await call(.sign, key: key, version: id).run {
      guard let base = base as? any Signing else { throw Self.missing("sign") }
      return try await base.sign(message, with: id)
    }
  }

  // MARK: -

  private func call(
    _ operation: AccessEvent.Operation, key: KeyName?, version: KeyVersionID? = nil, reason: String? = nil
  ) -> LoggedCall {
    var access = access
    access.fillIn()
    return LoggedCall(
      operation, key: key, version: version, provider: identity.name, access: access, reason: reason ?? self.reason,
      reporter: reporter)
  }

  private static func missing(_ ability: String) -> KMSError {
    KMSError(.notSupported, "this provider cannot \(ability)", advice: "Use a provider that can, or do without.")
  }
}

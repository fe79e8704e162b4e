/// A provider of key-encrypting keys: a token, a key store or memory.
///
/// A provider holds *key versions* (one KEK each) and uses them on the caller's behalf; the material of a
/// KEK never crosses this protocol. A provider enforces each version's ``KeyState`` and ``KeyPurpose``
/// itself, so that no caller can forget to.
///
/// Contract, checked by `KMSTesting`'s suite:
/// - Every requirement may be called from any task at any time; a provider serialises what it must.
/// - Only ``KMSError`` and `CancellationError` come out.
/// - Cancellation is looked at before a call is started; a call that was started is finished.
/// - An operation that fails changes nothing.
/// - After ``close()`` every call fails with ``KMSError/Code/closed``.
public protocol KMSProvider: Sendable {
  /// Kind and configured name. Constant over the provider's life.
  var identity: ProviderIdentity { get }

  /// All key versions that the provider holds for the named key, or for every key when `name` is nil.
  ///
  /// Sorted by ``KeyVersionID``, oldest first. Destroyed versions are not listed. An unknown name gives `[]`.
  func keyVersions(of name: KeyName?) async throws -> [KeyVersion]

  /// Makes a new AES-256 KEK under the id in `request`, inside the provider.
  ///
  /// - Throws: ``KMSError/Code/duplicateKeyVersion`` when the id is taken, whatever key has it;
  ///   ``KMSError/Code/keyPurposeForbids`` for ``KeyPurpose/recovery``, where keys are only imported.
  func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion

  /// Moves a version along the table in ``KeyState/mayBecome(_:)``; `destroyed` erases the material for good.
  ///
  /// Setting the state that a version has already is allowed and changes nothing.
  /// - Throws: ``KMSError/Code/illegalStateTransition``, ``KMSError/Code/keyNotFound``.
  func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion

  /// Wraps a 32-byte key under an active version whose purpose is ``KeyPurpose/wrap`` or ``KeyPurpose/recovery``.
  ///
  /// - Parameters:
  ///   - key: exactly 32 bytes.
  ///   - id: the version to wrap under.
  ///   - aad: authenticated by algorithms that can (A256GCM); never stored. Algorithms without AAD ignore it.
  /// - Throws: ``KMSError/Code/keyNotFound``, ``KMSError/Code/keyStateForbids``,
  ///   ``KMSError/Code/keyPurposeForbids``, ``KMSError/Code/invalidInput``.
  func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey

  /// Unwraps what ``wrap(_:under:aad:)`` gave, in any state that still unwraps.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen`` when the bytes were not wrapped under this version or were changed.
  func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes

  /// Whether the provider can serve now, with a line for a person. Never throws and never changes anything.
  func health() async -> ProviderHealth

  /// Releases sessions and memory. Idempotent.
  func close() async
}

/// Which provider this is.
public struct ProviderIdentity: Sendable, Hashable, Codable {
  /// `pkcs11`, `openssl`, `memory`, or a third party's own word.
  public let kind: String
  /// The name that the configuration gives it.
  public let name: String

  /// Both are fixed for the provider's life.
  public init(kind: String, name: String) {
    self.kind = kind
    self.name = name
  }
}

/// What ``KMSProvider/health()`` found.
public struct ProviderHealth: Sendable, Hashable {
  /// Whether calls can succeed now.
  public let isServing: Bool
  /// One line: what answers, or what is wrong and what to do.
  public let detail: String
  /// Kind of what is wrong; nil when it serves.
  public let problem: KMSError.Code?
  /// Sessions to a token, where the provider has such.
  public var sessions: ProviderSessions?

  /// `detail` is one line without secrets.
  public init(isServing: Bool, detail: String) {
    self.isServing = isServing
    self.detail = detail
    problem = isServing ? nil : .providerUnavailable
  }

  /// It does not serve, because of `error`.
  public init(_ error: any Error) {
    isServing = false
    detail = "\(error)"
    problem = (error as? KMSError)?.code ?? .providerUnavailable
  }
}

/// Sessions that a provider has to its token.
public struct ProviderSessions: Sendable, Hashable {
  /// Open now.
  public let open: Int
  /// Of these, in use.
  public let busy: Int
  /// Most that are opened.
  public let limit: Int

  /// Numbers of sessions.
  public init(open: Int, busy: Int, limit: Int) {
    self.open = open
    self.busy = busy
    self.limit = limit
  }
}

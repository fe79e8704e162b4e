/// One KEK in one provider: AES-256, named by its ``KeyVersionID``.
public struct KeyVersion: Sendable, Hashable, Codable {
  /// Its CKA_ID, localKeyID or kid.
  public let id: KeyVersionID
  /// The key that it is a version of.
  public let key: KeyName
  /// What it is for, for life.
  public let purpose: KeyPurpose
  /// What it may do now.
  public let state: KeyState
  /// Who keeps it to its state.
  public let enforcement: StateEnforcement
  /// Configured name of the provider that holds it.
  public let provider: String

  /// As a provider found it.
  public init(
    id: KeyVersionID, key: KeyName, purpose: KeyPurpose, state: KeyState, enforcement: StateEnforcement,
    provider: String
  ) {
    self.id = id
    self.key = key
    self.purpose = purpose
    self.state = state
    self.enforcement = enforcement
    self.provider = provider
  }

  /// The same version in another state.
  public func with(state: KeyState, enforcement: StateEnforcement? = nil) -> KeyVersion {
    KeyVersion(
      id: id, key: key, purpose: purpose, state: state, enforcement: enforcement ?? self.enforcement,
      provider: provider)
  }
}

extension Sequence<KeyVersion> {
  /// The version that new data is wrapped under: the newest active one. Every node picks the same.
  public var current: KeyVersion? { filter { $0.state == .active }.max { $0.id < $1.id } }
}

/// What ``KMSProvider/createKeyVersion(_:)`` is asked for. The caller chooses the id, so that it can log its
/// intent before, and finish or undo after a crash.
public struct NewKeyVersion: Sendable, Hashable {
  /// Its CKA_ID, localKeyID or kid.
  public let id: KeyVersionID
  /// The key that it is a version of.
  public let key: KeyName
  /// What it is for, for life.
  public let purpose: KeyPurpose

  /// A new UUIDv7 unless an id is given.
  public init(key: KeyName, purpose: KeyPurpose = .wrap, id: KeyVersionID = .make()) {
    self.id = id
    self.key = key
    self.purpose = purpose
  }
}

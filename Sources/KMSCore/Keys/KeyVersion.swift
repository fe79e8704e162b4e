/// One KEK in one provider: AES-256, named by its ``KeyVersionID``.
public struct KeyVersion: Sendable, Hashable, Codable {
  public let id: KeyVersionID
  public let key: KeyName
  public let purpose: KeyPurpose
  public let state: KeyState
  public let enforcement: StateEnforcement
  /// Configured name of the provider that holds it.
  public let provider: String

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
  public let id: KeyVersionID
  public let key: KeyName
  public let purpose: KeyPurpose

  public init(key: KeyName, purpose: KeyPurpose = .wrap, id: KeyVersionID = .make()) {
    self.id = id
    self.key = key
    self.purpose = purpose
  }
}

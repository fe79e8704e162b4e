/// State of a key version, after NIST SP 800-57 part 1, section 7.
public enum KeyState: String, Sendable, Hashable, Codable, CaseIterable {
  /// Wraps and unwraps.
  case active
  /// Unwraps only.
  case deactivated
  /// Neither, until it is active or deactivated again.
  case suspended
  /// Unwraps only, with a warning; never active again.
  case compromised
  /// The material is gone. Final.
  case destroyed

  /// New data may be wrapped.
  public var wraps: Bool { self == .active }
  /// Old data may be opened.
  public var unwraps: Bool { self == .active || self == .deactivated || self == .compromised }

  /// The transition table. Everything that is not here is an error.
  public var successors: [KeyState] {
    switch self {
    case .active: [.deactivated, .suspended, .compromised]
    case .deactivated: [.active, .suspended, .compromised, .destroyed]
    case .suspended: [.active, .deactivated, .compromised, .destroyed]
    case .compromised: [.destroyed]
    case .destroyed: []
    }
  }

  /// Whether the table has this step; staying is one.
  public func mayBecome(_ next: KeyState) -> Bool { self == next || successors.contains(next) }
}

/// What a key is for. A key has one purpose in its life: whoever could both unwrap and decrypt with a KEK
/// could read out what it wraps.
public enum KeyPurpose: String, Sendable, Hashable, Codable, CaseIterable {
  /// Wraps and unwraps content keys.
  case wrap
  /// Encrypts small data directly.
  case encrypt
  /// Wraps content keys and unwraps none: a copy of the key, or its private half, is kept offline. Made by import
  /// only, so that there is a copy.
  case recovery

  /// Whether a version in this state wraps or encrypts.
  public func seals(in state: KeyState) -> Bool { state.wraps }
  /// Whether a version in this state unwraps or decrypts.
  public func opens(in state: KeyState) -> Bool { self != .recovery && state.unwraps }
}

/// Who keeps a version from being used against its state.
public enum StateEnforcement: String, Sendable, Hashable, Codable {
  /// The token itself refuses (CKA_WRAP and CKA_UNWRAP are off).
  case token
  /// The provider's own code refuses, because the token cannot.
  case suite
}

extension KMSError {
  /// Kind of an error: an open set, so that new kinds break nobody's `switch`.
  public struct Code: Sendable, Hashable, RawRepresentable, CustomStringConvertible {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public var description: String { rawValue }
  }
}

extension KMSError.Code {
  private init(_ name: StaticString) { rawValue = "\(name)" }

  // Asked for wrongly
  /// A value that the call cannot take.
  public static let invalidInput = Self("invalid-input")
  /// The configuration is wrong.
  public static let configurationInvalid = Self("configuration-invalid")
  /// `kms-encryption-enabled` is false.
  public static let encryptionDisabled = Self("encryption-disabled")
  /// More data than the operation takes.
  public static let limitExceeded = Self("limit-exceeded")
  /// The provider or token cannot do this at all.
  public static let notSupported = Self("not-supported")
  /// The output is there already.
  public static let outputExists = Self("output-exists")

  // Provider
  /// Module, token or key store cannot be reached.
  public static let providerUnavailable = Self("provider-unavailable")
  /// The call took longer than its deadline.
  public static let deadlineExceeded = Self("deadline-exceeded")
  /// The provider was closed.
  public static let closed = Self("closed")
  /// PIN or passphrase is wrong, or the token or file system forbids it.
  public static let accessDenied = Self("access-denied")
  /// The token has locked the PIN, or the next wrong one would.
  public static let pinLocked = Self("pin-locked")
  /// A PIN's or passphrase's source gives nothing.
  public static let secretUnavailable = Self("secret-unavailable")
  /// The key store cannot be read as one.
  public static let keyStoreDamaged = Self("key-store-damaged")
  /// Group or world could read or change the key store.
  public static let keyStoreExposed = Self("key-store-exposed")
  /// The token made a key with other attributes than it was asked for.
  public static let tokenNotTrustworthy = Self("token-not-trustworthy")
  /// Anything else that the token or library returned.
  public static let providerFailed = Self("provider-failed")

  // Keys
  /// No such key or version.
  public static let keyNotFound = Self("key-not-found")
  /// The id is taken.
  public static let duplicateKeyVersion = Self("duplicate-key-version")
  /// The version's state does not allow this use.
  public static let keyStateForbids = Self("key-state-forbids")
  /// The key's purpose does not allow this use.
  public static let keyPurposeForbids = Self("key-purpose-forbids")
  /// A key that somebody else made is not one that the suite may use.
  public static let keyNotAdoptable = Self("key-not-adoptable")
  /// Not in ``KeyState/successors``.
  public static let illegalStateTransition = Self("illegal-state-transition")

  // Data
  /// Not an envelope of this format.
  public static let malformedEnvelope = Self("malformed-envelope")
  /// None of the recipients' KEKs is in a configured provider.
  public static let notOurs = Self("not-ours")
  /// A KEK is ours, but key, context or content does not match.
  public static let doesNotOpen = Self("does-not-open")

  // Machine
  /// The access log did not take an event in time; nothing was changed and nothing given out.
  public static let accessLogUnavailable = Self("access-log-unavailable")
  /// A file could not be read or written.
  public static let fileFailed = Self("file-failed")
  /// The file is not there.
  public static let fileNotFound = Self("file-not-found")
}

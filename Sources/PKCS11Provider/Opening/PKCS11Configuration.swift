public import KMSCore

/// Which token, and how it is opened and used.
public struct PKCS11Configuration: Sendable {
  /// The provider's configured name.
  public let name: String
  /// Tokens that hold the same keys (members of a cluster): the first that answers serves, until it is lost.
  public let tokens: [PKCS11URI]
  /// Where the user's PIN is. A source that asks a person is waited for as long as one takes, one whose description
  /// begins with `command:` for two minutes, any other as long as for a call (``deadline``).
  public let pin: SecretSource
  /// Sessions for calls, at most.
  public let maxSessions: Int
  /// How long a call may take before its caller is let go.
  public let deadline: Duration
  /// A token that was lost is opened anew at most once in this time.
  public let reopenInterval: Duration
  /// How new keys may wrap, the best first. ``WrapAlgorithm/rsaOAEPSHA1`` only when it is named here.
  public let wrapAlgorithms: [WrapAlgorithm]
  /// A text for the module's start (C_Initialize, pReserved), which NSS wants; nil for any other.
  public let initArguments: String?

  /// What is tried when nothing else is said.
  public static let defaultWrapAlgorithms: [WrapAlgorithm] = [.a256KW, .a256GCM, .rsaOAEP256]

  /// - Parameters:
  ///   - name: the provider's configured name.
  ///   - tokens: one at least.
  ///   - pin: where the user's PIN is.
  ///   - maxSessions: sessions that are kept open for calls at most; one more holds the login.
  ///   - deadline: of each call, 10 seconds unless given.
  ///   - reopenInterval: 30 seconds unless given; up to a tenth is added by chance.
  ///   - wrapAlgorithms: one at least.
  ///   - initArguments: for NSS: where its database is.
  public init(
    name: String, tokens: [PKCS11URI], pin: SecretSource, maxSessions: Int = 8, deadline: Duration = .seconds(10),
    reopenInterval: Duration = .seconds(30),
    wrapAlgorithms: [WrapAlgorithm] = PKCS11Configuration.defaultWrapAlgorithms, initArguments: String? = nil
  ) {
    self.name = name
    self.tokens = tokens
    self.pin = pin
    self.maxSessions = maxSessions
    self.deadline = deadline
    self.reopenInterval = reopenInterval
    self.wrapAlgorithms = wrapAlgorithms
    self.initArguments = initArguments
  }

  /// With one token, and the defaults.
  public init(name: String, uri: PKCS11URI, pin: SecretSource, maxSessions: Int = 8) {
    self.init(name: name, tokens: [uri], pin: pin, maxSessions: maxSessions)
  }
}

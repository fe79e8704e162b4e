public import KMSCore

/// What a token can do, found out by trying. Nothing is left on it: all keys are of the session.
public struct TokenExamination: Sendable {
  /// What a mechanism's trial gave.
  public struct Trial: Sendable {
    /// As the standard writes it.
    public let mechanism: String
    /// What is done with it.
    public let use: String
    /// Whether the token lists it.
    public let isListed: Bool
    /// What the token said; nil when it works.
    public let refusal: String?
  }

  /// How long a call takes, in microseconds.
  public struct Latency: Sendable {
    /// What was called.
    public let call: String
    /// Of 100 calls 50 are faster.
    public let median: Double
    /// Of 100 calls 99 are faster.
    public let p99: Double
    /// The slowest of all.
    public let slowest: Double
  }

  /// The token's label.
  public internal(set) var label: String
  /// Its serial number.
  public internal(set) var serial: String
  /// Its firmware's version.
  public internal(set) var firmware: String
  /// The module's path.
  public internal(set) var module: String
  /// What was tried.
  public internal(set) var trials: [Trial] = []
  /// How new keys would wrap; nil when there is no way.
  public internal(set) var algorithm: WrapAlgorithm?
  /// Why it is that one.
  public internal(set) var reason = ""
  /// The first template for KEKs that was taken; nil when none was.
  public internal(set) var template: String?
  /// What a KEK's attributes were when they were read back, by name; nil where the token does not say.
  public internal(set) var attributes: [(name: String, value: Bool?)] = []
  /// Whose IV AES-GCM uses; nil where GCM does not work.
  public internal(set) var gcmIV: String?
  /// Sessions that could be open at once, and whether there may be more.
  public internal(set) var sessions: (count: Int, isLimit: Bool) = (0, false)
  /// By call.
  public internal(set) var latencies: [Latency] = []
  /// Wraps in a second by so many threads.
  public internal(set) var scaling: [(threads: Int, perSecond: Double)] = []
  /// What to know before relying on it.
  public internal(set) var quirks: [String] = []

  /// Whether the suite can keep keys in it.
  public var isUsable: Bool { algorithm != nil && template != nil }
}

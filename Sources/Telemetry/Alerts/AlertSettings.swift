public import SystemPackage

/// Which rules look, when they speak, and to whom.
public struct AlertSettings: Sendable, Hashable {
  /// Where alerts go.
  public enum Destination: Sendable, Hashable {
    /// A line each.
    case standardError
    /// A program, started once for each alert, which gets it as JSON on its standard input.
    case command(FilePath)
    /// A file to which each alert is appended as a line of JSON, for whatever posts it to a webhook.
    case file(FilePath)
  }

  /// Rules that are switched off.
  public var off: Set<Alert.Rule> = []
  /// To whom.
  public var destinations: [Destination] = [.standardError]
  /// The same alert is not sent again for so long.
  public var repeatAfter = Duration.seconds(3600)
  /// How long a key or principal is watched before anything about it counts as unusual.
  public var learning = Duration.seconds(86_400)
  /// Failed encrypts or decrypts of one key in five minutes from which on it is an alert …
  public var failures = 10
  /// … if they are also this part of all, in percent.
  public var failurePercent = 5
  /// Operations of one principal in five minutes are far above its baseline when they are so many times its peak …
  public var rateFactor = 5.0
  /// … and so many at least.
  public var rateAtLeast = 200
  /// Distinct contexts that one principal decrypts in five minutes, likewise.
  public var contextsFactor = 5.0
  /// … and so many at least.
  public var contextsAtLeast = 100
  /// A provider's calls are slow when a tenth of them takes so many times as long as it used to.
  public var latencyFactor = 5.0
  /// A current version older than this is overdue; nil looks at no age.
  public var rotationInterval: Duration?

  /// Every rule on, alerts to standard error.
  public init() {}

  /// Windows in which failures, rates and contexts are counted.
  static let window: Int64 = 300
}

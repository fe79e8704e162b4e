/// One thing that was done, or is about to be done, with a key.
public struct AccessEvent: Sendable, Hashable {
  /// What was done: a provider call (`wrap`, `unwrap`, `create-version`, …) or a data operation (`encrypt`, ….).
  public struct Operation: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public var description: String { rawValue }

    /// A provider wrapped a key.
    public static let wrap = Self(rawValue: "wrap")
    /// A provider unwrapped a key.
    public static let unwrap = Self(rawValue: "unwrap")
    /// A provider rewrapped a key inside.
    public static let rewrap = Self(rawValue: "rewrap")
    /// A provider listed key versions.
    public static let listVersions = Self(rawValue: "list-versions")
    /// A provider made a key version.
    public static let createVersion = Self(rawValue: "create-version")
    /// A provider took a key version in.
    public static let importVersion = Self(rawValue: "import-version")
    /// A provider listed keys that somebody else made.
    public static let listAdoptable = Self(rawValue: "list-adoptable")
    /// A provider took over a key that somebody else made.
    public static let adoptVersion = Self(rawValue: "adopt-version")
    /// A version's state was changed; the reason says why.
    public static let setState = Self(rawValue: "set-state")
    /// A provider encrypted data itself.
    public static let directEncrypt = Self(rawValue: "direct-encrypt")
    /// A provider decrypted data itself.
    public static let directDecrypt = Self(rawValue: "direct-decrypt")
    /// A provider signed.
    public static let sign = Self(rawValue: "sign")
    /// A provider was asked for its health.
    public static let health = Self(rawValue: "health")
    /// A provider was closed.
    public static let close = Self(rawValue: "close")
    /// The manager encrypted data.
    public static let encrypt = Self(rawValue: "encrypt")
    /// The manager decrypted data.
    public static let decrypt = Self(rawValue: "decrypt")
    /// A key was rotated.
    public static let rotate = Self(rawValue: "rotate")
  }

  /// What a record of the log is about.
  public struct RecordType: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public var description: String { rawValue }

    /// One call or data operation; what a record is that does not say.
    public static let access = Self(rawValue: "access")
    /// A key was rotated, or is about to be; with the reason.
    public static let rotation = Self(rawValue: "rotation")
    /// Many data operations, of one second or one batch, alike in key, version, principal and outcome.
    public static let summary = Self(rawValue: "summary")
    /// The log is alive, though perhaps nothing happens.
    public static let heartbeat = Self(rawValue: "heartbeat")
    /// The log began a file.
    public static let file = Self(rawValue: "file")
    /// The log signed a checkpoint, or failed to.
    public static let checkpoint = Self(rawValue: "checkpoint")
    /// The log ended: closed, or after a crash closed by another.
    public static let end = Self(rawValue: "end")

    /// A target of copies of the log lost lines.
    public static let copy = Self(rawValue: "copy")

    /// What the log says of itself, and no use of a key by anybody.
    public var isOwn: Bool { [.heartbeat, .file, .checkpoint, .end, .copy].contains(self) }
  }

  /// Where in an operation the event stands.
  public enum Phase: String, Sendable, Hashable {
    /// Logged before an operation that changes keys.
    case intent
    /// Logged after; carries the outcome.
    case outcome
  }

  /// When it was made, in UTC.
  public var timestamp: Timestamp
  /// What was done.
  public var operation: Operation
  /// Before or after.
  public var phase: Phase
  /// The key's name, where it is known.
  public var key: KeyName?
  /// The key version, where there is one.
  public var version: KeyVersionID?
  /// Configured name of the provider; nil for a data operation that met none.
  public var provider: String?
  /// On whose behalf.
  public var access: Access
  /// The error's code; nil on success and for an intent.
  public var errorCode: KMSError.Code?
  /// What went wrong; holds no secret.
  public var errorMessage: String?
  /// Why, for rotations and state changes; the new state for `set-state`.
  public var reason: String?
  /// How long the call took.
  public var duration: Duration
  /// The operation was served from a cache and met no provider.
  public var cached: Bool
  /// How many operations it stands for; nil where each has its own. ``duration`` is their mean then.
  public var count: Int?
  /// Of those, the contexts.
  package var contexts = ContextTags()

  /// What the record is about.
  public var recordType: RecordType {
    operation == .rotate ? .rotation : count == nil ? .access : .summary
  }

  /// No error.
  public var success: Bool { errorCode == nil }

  /// An outcome without error, now, unless said otherwise.
  public init(
    _ operation: Operation, phase: Phase = .outcome, timestamp: Timestamp = .now(), key: KeyName? = nil,
    version: KeyVersionID? = nil, provider: String? = nil, access: Access = Access(),
    errorCode: KMSError.Code? = nil, errorMessage: String? = nil, reason: String? = nil,
    duration: Duration = .zero, cached: Bool = false, count: Int? = nil
  ) {
    self.timestamp = timestamp
    self.operation = operation
    self.phase = phase
    self.key = key
    self.version = version
    self.provider = provider
    self.access = access
    self.errorCode = errorCode
    self.errorMessage = errorMessage
    self.reason = reason
    self.duration = duration
    self.cached = cached
    self.count = count
  }
}

/// Takes events. The result of an operation is given out only after ``report(_:)-(AccessEvent)`` has returned.
public protocol AccessReporter: Sendable {
  /// Takes the event for good.
  ///
  /// - Throws: ``KMSError/Code/accessLogUnavailable`` when it could not, within a bounded time.
  func report(_ event: AccessEvent) async throws

  /// Takes all of them, or throws.
  func report(_ events: [AccessEvent]) async throws

  /// Whether operations that name no principal are refused. A reporter that passes events on to another gives its
  /// answer.
  var requiresPrincipal: Bool { get }

  /// Makes final what was taken: a log of files ends and signs itself. Events may come after; they begin another.
  func seal() async
}

extension AccessReporter {
  /// One after the other.
  public func report(_ events: [AccessEvent]) async throws {
    for event in events { try await report(event) }
  }

  /// Nothing to do.
  public func seal() async {}

  /// Nobody need be named.
  public var requiresPrincipal: Bool { false }

  /// Refuses work for nobody, where the reporter asks for a name. Such an operation is logged as any that fails.
  ///
  /// - Throws: ``KMSError/Code/accessDenied``.
  package func check(_ access: Access) throws(KMSError) {
    guard requiresPrincipal, access.principal == nil else { return }
    throw KMSError(
      .accessDenied, "no principal is named, and access-log.require-principal refuses that",
      advice: "Run it inside withPrincipal(\"name\") { … }, or name one with --principal.")
  }
}

public import KMSCore

/// How a key stands with its rotation.
public enum RotationStanding: String, Sendable, Hashable, CaseIterable {
  /// Its current version is young enough.
  case notDue = "not-due"
  /// Its current version is as old as the interval, or nobody knows how old.
  case due
  /// A version before the current one is still active: a rotation was cut off. To be finished, not begun again.
  case interrupted
  /// Due or interrupted, but the last try failed a short time ago.
  case waiting
  /// No version is active. Somebody retired the key, so only a rotation by hand wakes it.
  case inactive
}

/// What the schedule says of one key.
public struct RotationPlan: Sendable, Hashable {
  /// The key's name.
  public let key: KeyName
  /// The newest active version; nil when there is none.
  public let current: KeyVersion?
  /// How it stands.
  public let standing: RotationStanding
  /// When it is to be rotated, or tried again; nil when no time will bring it.
  public let next: Timestamp?

  /// Whether there is something to do now.
  public var isActionable: Bool { standing == .due || standing == .interrupted }
}

/// Failed rotations of one key since its last good one.
public struct RotationFailures: Sendable, Hashable {
  /// How many, without a good one between.
  public var count: Int
  /// When the last was.
  public var last: Timestamp

  /// - Parameter count: 1 or more.
  public init(count: Int, last: Timestamp) {
    self.count = count
    self.last = last
  }
}

/// Decides which keys are to be rotated. A plain value: it knows no clock, no provider and no log.
public struct RotationSchedule: Sendable, Hashable {
  /// Age from which a current version is due.
  public let interval: Duration
  /// Pause after a failed rotation; it doubles with each further one.
  public static let firstPause = Duration.seconds(60)
  /// The longest pause.
  public static let longestPause = Duration.seconds(3600)

  /// Keys whose current version is older than `interval` are due.
  public init(interval: Duration) { self.interval = interval }

  /// The plan of every key that has versions in `provider`, by name. Keys of other purposes than wrap and encrypt
  /// are not rotated by time, and left out.
  ///
  /// - Parameter rotated: when keys were last rotated; asked only where a version's id is dated ahead.
  public func plans(
    _ versions: [KeyVersion], provider: String, failures: [KeyName: RotationFailures],
    rotated: [KeyName: Timestamp] = [:], now: Timestamp
  ) -> [RotationPlan] {
    Dictionary(grouping: versions, by: \.key)
      .filter { $1.contains { $0.provider == provider && ($0.purpose == .wrap || $0.purpose == .encrypt) } }
      .sorted { $0.key < $1.key }
      .map { key, versions in
        plan(
          key, versions, provider: provider, failures: failures[key], rotated: rotated[key], now: now)
      }
  }

  /// - Parameters:
  ///   - versions: all of the key, in whatever provider.
  ///   - provider: the one that makes new versions; its newest active one is current.
  func plan(
    _ key: KeyName, _ versions: [KeyVersion], provider: String, failures: RotationFailures?,
    rotated: Timestamp? = nil, now: Timestamp
  ) -> RotationPlan {
    guard let current = versions.filter({ $0.provider == provider }).current else {
      return RotationPlan(key: key, current: nil, standing: .inactive, next: nil)
    }
    let isInterrupted = versions.contains { $0.state == .active && $0.id < current.id }
    // What a clock dated ahead tells no age, nor do the ids after it, which are later still.
    let made = current.isDatedAhead(of: now) ? rotated : current.id.created
    let due = made.map { $0.advanced(by: interval) } ?? now
    guard isInterrupted || due <= now else {
      return RotationPlan(key: key, current: current, standing: .notDue, next: due)
    }
    // One of the far future was told by a clock that was set since: it says nothing of when to try again.
    if let failures, failures.last <= now.advanced(by: Self.longestPause) {
      let retry = failures.last.advanced(by: Self.pause(key, failures))
      if retry > now { return RotationPlan(key: key, current: current, standing: .waiting, next: retry) }
    }
    return RotationPlan(
      key: key, current: current, standing: isInterrupted ? .interrupted : .due, next: isInterrupted ? now : due)
  }

  /// 1 min, 2, 4 … 1 h, and up to a tenth more, so that nodes that failed together do not come back together. The
  /// tenth follows from key and time: whoever asks is told the same.
  static func pause(_ key: KeyName, _ failures: RotationFailures) -> Duration {
    let doublings = min(max(0, failures.count - 1), 6)
    let pause = min(firstPause * (1 << doublings), longestPause)
    // FNV-1a, as Swift's own hashes differ from process to process.
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in Array("\(key) \(failures.last.nanoseconds)".utf8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return pause + pause * (Double(hash >> 11) / Double(1 << 53)) / 10
  }
}

internal import KMSCore
public import SystemPackage

/// Where and how an ``AccessLogFile`` writes.
public struct AccessLogSettings: Sendable, Hashable {
  /// When an event counts as taken.
  public enum Durability: String, Sendable, Hashable, CaseIterable {
    /// The kernel has it: survives the process, not a power cut.
    case written
    /// It is on the disk (fdatasync).
    case synced
  }

  /// Folder of the log; made 0700 if it is not there.
  public var directory: FilePath
  /// Size in bytes from which on a new file is begun.
  public var rotateAt: Int
  /// Age from which on a new file is begun.
  public var rotateAfter: Duration = .seconds(86_400)
  /// How long files are kept at least.
  public var keep: Duration
  /// When an event counts as taken: handed to the system, or on the disk.
  public var durability: Durability
  /// How long a caller waits at most for its event to be taken.
  public var deadline: Duration
  /// Where copies of the lines go, besides.
  public var copies: [LogCopyTarget] = []
  /// Whether operations that name no principal are refused.
  public var requiresPrincipal = false
  /// Time between two heartbeats, and the checkpoints with them. Only tests do not wait for a minute: whoever verifies
  /// the log counts on it.
  package var heartbeat: Duration = .seconds(60)

  /// Values beyond what makes sense are refused when the log is opened.
  public init(
    directory: FilePath, rotateAt: Int = 100 << 20, keep: Duration = .seconds(365 * 86_400),
    durability: Durability = .written, deadline: Duration = .seconds(2)
  ) {
    self.directory = directory
    self.rotateAt = rotateAt
    self.keep = keep
    self.durability = durability
    self.deadline = deadline
  }

  /// - Throws: ``KMSError/Code/configurationInvalid``.
  func validate() throws {
    func refuse(_ message: String, _ advice: String) throws {
      throw KMSError(.configurationInvalid, message, advice: advice)
    }
    if directory.isEmpty { try refuse("the access log has no folder", "Give access-log: path.") }
    if rotateAt < 4096 { try refuse("the access log would rotate at \(rotateAt) bytes", "Use 4096 bytes at least.") }
    if !(Duration.milliseconds(1) ... .seconds(3600)).contains(deadline) {
      try refuse("the access log's deadline is \(deadline)", "Use 1 ms to 1 h.")
    }
    if !(Duration.seconds(1) ... .seconds(366 * 86_400)).contains(rotateAfter) {
      try refuse("the access log would begin a new file every \(rotateAfter)", "Use 1 s to 366 d.")
    }
    if keep < .zero { try refuse("the access log would be kept for \(keep)", "Use a positive time.") }
  }

  var deadlineNanoseconds: UInt64 { deadline.wholeNanoseconds }
  var heartbeatNanoseconds: UInt64 { heartbeat.wholeNanoseconds }
  var rotateAfterNanoseconds: UInt64 { UInt64(rotateAfter.components.seconds) * 1_000_000_000 }
}

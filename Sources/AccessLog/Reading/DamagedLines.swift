public import SystemPackage

/// Lines of a log that are no records, the first ones each, all of them counted.
public struct DamagedLines: Sendable, Hashable {
  /// What is wrong with a line.
  public enum Damage: String, Sendable, Hashable {
    /// The last line has no end: its writer died in it, or is writing it now.
    case torn
    case notARecord = "not a record"
    case tooLong = "too long"
  }

  /// Where a damaged line stands.
  public struct Line: Sendable, Hashable, CustomStringConvertible {
    /// The log file.
    public let file: FilePath
    /// From 1.
    public let number: Int
    /// What is wrong.
    public let damage: Damage
    public var description: String { "\(file):\(number): \(damage.rawValue)" }
  }

  /// How many there are, listed or not.
  public private(set) var count = 0
  /// The first ``limit``.
  public private(set) var lines: [Line] = []
  /// So many are listed.
  public static let limit = 100

  public init() {}

  mutating func add(_ file: FilePath, _ number: Int, _ damage: Damage) {
    count += 1
    if lines.count < Self.limit { lines.append(Line(file: file, number: number, damage: damage)) }
  }
}

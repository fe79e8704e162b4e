public import KMSCore

/// The oldest key version that may still open data (`min-unwrap-version`): a moment, or a version's id.
public enum OldestVersion: Sendable, Hashable, CustomStringConvertible {
  /// Versions made before it are too old, and so is every adopted one, as nobody knows its age.
  case made(Timestamp)
  /// Versions whose id sorts before this one are too old.
  case version(KeyVersionID)

  /// Reads an RFC 3339 time in UTC, a date, or a version's id as `key list` prints it; nil when it is neither.
  public init?(_ text: String) {
    if let time = Timestamp(rfc3339: text) {
      self = .made(time)
    } else if let id = try? KeyVersionID(parsing: text), id.description == text.lowercased() {
      // Only as it is printed: a mistyped date would be an adopted id, which forbids nothing.
      self = .version(id)
    } else {
      return nil
    }
  }

  /// Whether this version is older.
  public func forbids(_ id: KeyVersionID) -> Bool {
    switch self {
    case .made(let time): id.created.map { $0 < time } ?? true
    case .version(let oldest): id < oldest
    }
  }

  public var description: String {
    switch self {
    case .made(let time): time.description
    case .version(let id): id.description
    }
  }
}

import KMSCore

/// Age and state of every key version, and the keys whose rotation is due.
struct KeyAges: Sendable, Hashable {
  struct Row: Sendable, Hashable {
    let version: KeyVersion
    /// Nil for an adopted id, which tells no time.
    let age: Duration?
  }

  struct Overdue: Sendable, Hashable {
    let key: KeyName
    /// Nil when no version is active, so that nothing new can be encrypted.
    let current: Row?
  }

  /// Sorted by key, the newest version first.
  let rows: [Row]
  let overdue: [Overdue]
  /// Keys of which an older version than the current one is still active.
  let interrupted: [KeyName]

  /// - Parameter isComplete: there are no versions elsewhere; else a key without an active one may have it there.
  init(_ versions: [KeyVersion], isComplete: Bool = true, rotationInterval: Duration, now: Timestamp) {
    func row(_ version: KeyVersion) -> Row { Row(version: version, age: version.id.created.map(now.since)) }
    rows = versions.sorted { $0.key == $1.key ? $1.id < $0.id : $0.key < $1.key }.map(row)
    let rotating = versions.filter { $0.purpose != .recovery }
    overdue = Dictionary(grouping: rotating, by: \.key).sorted { $0.key < $1.key }.compactMap { key, versions in
      guard let current = versions.current.map(row) else {
        return isComplete ? Overdue(key: key, current: nil) : nil
      }
      // An adopted key tells no age: nobody knows how old it is, so it is due.
      return current.age.map { $0 < rotationInterval } == true ? nil : Overdue(key: key, current: current)
    }
    interrupted = Dictionary(grouping: rotating.filter { $0.state == .active }, by: \.key)
      .filter { $1.count > 1 }.keys.sorted()
  }
}

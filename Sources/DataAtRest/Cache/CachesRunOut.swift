internal import AccessLog
internal import KMSCore

/// Other nodes go on encrypting under a version for `cache.max-age` after it was left. A census that was taken
/// before they stopped cannot have seen all of it.
extension DataAtRestManager {
  // What the nodes' clocks may differ by.
  private static let clocks = Duration.seconds(60)

  func checkCachesRanOut(of version: KeyVersion, before record: CensusRecord) async throws {
    guard let limits = configuration.cache else { return }
    guard let left = try await lastWrap(under: version) else {
      throw CensusRecord.damaged(
        "cannot show that no node had version \(version.id) in its cache, as nobody knows when it was deactivated")
    }
    let end = left.advanced(by: limits.maxAge + Self.clocks)
    guard let taken = Timestamp(rfc3339: record.taken), end < taken else {
      throw KMSError(
        .invalidInput,
        "the census was taken before \(end): until then other nodes may have encrypted under version \(version.id) "
          + "from their caches (cache.max-age)", advice: "Take another after that time; nothing was destroyed.",
        key: version.key.description)
    }
  }

  /// After it nothing was wrapped under the version: its last change of state in the log, and when the key's newest
  /// version was made. One between may have been of no use, or another node may have gone back to this one.
  private func lastWrap(under version: KeyVersion) async throws -> Timestamp? {
    var logged: Timestamp?
    if let logFolder {
      let changed = try await fileJob { _ in
        var last: Timestamp??
        try AccessLogReader(directory: logFolder).forEach(
          matching: AccessFilter(key: version.key.description, operation: .setState)
        ) { record, _ in
          guard record.keyVersion == version.id.description, record.success == true else { return }
          // Active again: when that ended, this log does not say.
          last = .some(record.reason?.hasPrefix(KeyState.active.rawValue) == true ? nil : record.timestamp)
        }
        return last
      }
      if case .some(nil) = changed { return nil }
      logged = changed ?? nil
    }
    let newest = try await keyVersions(of: version.key).last { version.id < $0.id }?.id.created
    return [logged, newest].compactMap(\.self).max()
  }
}

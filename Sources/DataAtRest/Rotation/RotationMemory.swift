internal import AccessLog
internal import KMSCore
internal import Synchronization

/// Failed rotations that a manager saw itself: for the pause after them where no access log can be read back.
final class RotationMemory: Sendable {
  private let failures = Mutex<[KeyName: RotationFailures]>([:])

  var all: [KeyName: RotationFailures] { failures.withLock { $0 } }

  func note(_ key: KeyName, success: Bool, at time: Timestamp) {
    failures.withLock { $0.note(key, success: success, at: time) }
  }
}

extension [KeyName: RotationFailures] {
  mutating func note(_ key: KeyName, success: Bool, at time: Timestamp) {
    guard !success else {
      self[key] = nil
      return
    }
    self[key] = RotationFailures(count: (self[key]?.count ?? 0) + 1, last: time)
  }
}

extension DataAtRestManager {
  /// Failed rotations since each key's last good one: from the access log, which all processes with this folder
  /// share, else from this manager's own memory.
  func rotationFailures(now: Timestamp) async throws -> [KeyName: RotationFailures] {
    guard let logFolder else { return rotationMemory.all }
    // More than the longest pause: enough of a count, and no old files are read.
    let since = now.advanced(by: .seconds(-12 * 3600))
    return try await fileJob { _ in
      var failures: [KeyName: RotationFailures] = [:]
      let filter = AccessFilter(operation: .rotate, since: since)
      _ = try AccessLogReader(directory: logFolder).forEach(matching: filter) { record, _ in
        guard let success = record.success, record.errorCode != KMSError.Code.cancelled.rawValue,
          let key = record.keyID.flatMap({ try? KeyName($0) })
        else { return }
        failures.note(key, success: success, at: record.timestamp)
      }
      return failures
    }
  }
}

internal import AccessLog
internal import KMSCore
internal import Synchronization

/// Rotations that a manager made itself: for the pause after those that failed, where no access log can be read back.
final class RotationMemory: Sendable {
  private struct State {
    var failures: [KeyName: RotationFailures] = [:]
    var rotated: [KeyName: Timestamp] = [:]
  }
  private let state = Mutex(State())

  var failures: [KeyName: RotationFailures] { state.withLock { $0.failures } }
  /// When each key was last rotated.
  var rotated: [KeyName: Timestamp] { state.withLock { $0.rotated } }

  func note(_ key: KeyName, success: Bool, at time: Timestamp) {
    state.withLock { state in
      state.failures.note(key, success: success, at: time)
      if success { state.rotated[key] = time }
    }
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
    guard let logFolder else { return rotationMemory.failures }
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

  /// When each key was last rotated, by the log's clock and not by ids: from the access log, else from this manager's own
  /// memory. Times to come were told by the same wrong clock.
  func lastRotations(now: Timestamp) async throws -> [KeyName: Timestamp] {
    guard let logFolder else { return rotationMemory.rotated }
    return try await fileJob { _ in
      var rotated: [KeyName: Timestamp] = [:]
      let filter = AccessFilter(operation: .rotate, outcome: .success, until: now.advanced(by: .seconds(3600)))
      _ = try AccessLogReader(directory: logFolder).forEach(matching: filter) { record, _ in
        if let key = record.keyID.flatMap({ try? KeyName($0) }) { rotated[key] = record.timestamp }
      }
      return rotated
    }
  }
}

import AccessLog
import KMSCore
import SystemPackage

extension TelemetryReport {
  /// What somebody has to do something about, a sentence each.
  var attentionNotes: [String] {
    let interval = TextTable.age(rotationInterval)
    var notes = unreachable.sorted { $0.key < $1.key }.map { name, error in
      "provider \(name) could not be asked: \(error.code.rawValue): \(error.message)"
    }
    notes += keys.overdue.map { overdue in
      guard let row = overdue.current else { return "key \(overdue.key) has no active version: make one" }
      let what =
        row.age.map { "is \(TextTable.age($0)) old, due after \(interval): rotate it" }
        ?? "was made elsewhere, at an unknown time: rotate it"
      return "key \(overdue.key) \(what)"
    }
    notes += keys.interrupted.map { "key \($0) has older versions active, a rotation was cut off: rotate --due" }
    notes += failedRotations.sorted { $0.key < $1.key }.map { key, failed in
      "key \(key) could not be rotated: \(failed.last.errorCode ?? "failed"), \(failed.count) times"
    }
    if rotations.failed > 0 { notes.append("failed rotations: \(rotations.failed)") }
    if !incidents.isEmpty { notes.append("security incidents: \(incidents.count), see below") }
    if outcomes.failed > 0 { notes.append("failed operations: \(outcomes.failed)") }
    if damaged.count > 0 {
      notes.append("damaged lines in the log: \(damaged.count)")
      notes += damaged.lines.prefix(Self.recentLimit).map { line in
        "\(line.file.lastComponent?.string ?? line.file.string):\(line.number): \(line.damage.rawValue)"
      }
    }
    return notes
  }
}

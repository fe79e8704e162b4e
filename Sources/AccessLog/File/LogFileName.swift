import KMSCore

/// Name of a log file, `access-20261124T083600.123456789Z-4711.jsonl`: when it was begun, and by which process.
/// Names sort by time.
struct LogFileName: Sendable, Hashable, CustomStringConvertible {
  let started: Timestamp
  let description: String

  init(started: Timestamp, process: Int32) {
    self.started = started
    let time = started.description.filter { $0 != "-" && $0 != ":" }
    description = "access-\(time)-\(process).jsonl"
  }

  /// Nil for the name of any other file.
  init?(_ name: String) {
    guard name.hasPrefix("access-"), name.hasSuffix(".jsonl") else { return nil }
    let parts = name.dropFirst(7).dropLast(6).split(separator: "-", omittingEmptySubsequences: false)
    let time = Array(parts[0])
    guard parts.count == 2, Int32(parts[1]) != nil, time.count == 26, time.allSatisfy(\.isASCII) else { return nil }
    let date = String(time[0..<4]) + "-" + String(time[4..<6]) + "-" + String(time[6..<8])
    let clock = String(time[8..<11]) + ":" + String(time[11..<13]) + ":" + String(time[13...])
    guard let started = Timestamp(rfc3339: date + clock) else { return nil }
    self.started = started
    description = name
  }
}

import DurableFiles
import KMSCore
import SystemPackage

/// Name of a log file, `access-20261124T083600.123456789Z-4711.jsonl`: when it was begun, and by which process.
/// With `.gz` when it is compressed. Names sort by time.
struct LogFileName: Sendable, Hashable, CustomStringConvertible {
  let started: Timestamp
  let process: Int32
  let isCompressed: Bool
  /// Without `.gz`: what it was written as.
  let original: String
  var description: String { isCompressed ? original + ".gz" : original }

  init(started: Timestamp, process: Int32) {
    self.started = started
    let time = started.description.filter { $0 != "-" && $0 != ":" }
    self.process = process
    isCompressed = false
    original = "access-\(time)-\(process).jsonl"
  }

  /// Nil for the name of any other file.
  init?(_ name: String) {
    isCompressed = name.hasSuffix(".gz")
    let name = isCompressed ? String(name.dropLast(3)) : name
    guard name.hasPrefix("access-"), name.hasSuffix(".jsonl") else { return nil }
    let parts = name.dropFirst(7).dropLast(6).split(separator: "-", omittingEmptySubsequences: false)
    let time = Array(parts[0])
    guard parts.count == 2, let process = Int32(parts[1]), time.count == 26, time.allSatisfy(\.isASCII) else {
      return nil
    }
    let date = String(time[0..<4]) + "-" + String(time[4..<6]) + "-" + String(time[6..<8])
    let clock = String(time[8..<11]) + ":" + String(time[11..<13]) + ":" + String(time[13...])
    guard let started = Timestamp(rfc3339: date + clock) else { return nil }
    self.started = started
    self.process = process
    original = name
  }

  /// All of a folder, the earliest first. While a file is being compressed it is there once.
  static func all(in directory: FilePath) throws -> [LogFileName] {
    let files = try folderContents(directory).compactMap { LogFileName($0.string) }
      .sorted { ($0.started, $0.description) < ($1.started, $1.description) }
    let plain = Set(files.lazy.filter { !$0.isCompressed }.map(\.original))
    return files.filter { !$0.isCompressed || !plain.contains($0.original) }
  }
}

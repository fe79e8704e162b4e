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

  // After `access-` and a time of 26 characters.
  private static let timeEnd = 33

  init(started: Timestamp, process: Int32) {
    self.started = started
    let time = started.description.filter { $0 != "-" && $0 != ":" }
    self.process = process
    isCompressed = false
    original = "access-\(time)-\(process).jsonl"
  }

  /// Nil for the name of any other file.
  init?(_ name: String) {
    let bytes = Array(name.utf8)
    isCompressed = bytes.suffix(3).elementsEqual(".gz".utf8)
    let plain = bytes.dropLast(isCompressed ? 3 : 0)
    guard plain.count > Self.timeEnd + 7, plain.prefix(7).elementsEqual("access-".utf8),
      plain.suffix(6).elementsEqual(".jsonl".utf8), plain[Self.timeEnd] == UInt8(ascii: "-"),
      let process = Int32(String(decoding: plain[(Self.timeEnd + 1)...].dropLast(6), as: UTF8.self))
    else { return nil }
    var time = Array(bytes[7..<Self.timeEnd])
    for (place, mark) in [(4, "-"), (7, "-"), (13, ":"), (16, ":")] { time.insert(contentsOf: mark.utf8, at: place) }
    guard let started = Timestamp(rfc3339: String(decoding: time, as: UTF8.self)) else { return nil }
    self.started = started
    self.process = process
    original = String(decoding: plain, as: UTF8.self)
  }

  /// All of a folder, the earliest first. While a file is being compressed it is there once.
  static func all(in directory: FilePath) throws -> [LogFileName] {
    let files = try folderContents(directory).compactMap { LogFileName($0) }
    let plain = Set(files.lazy.filter { !$0.isCompressed }.map(\.original))
    return files.filter { !$0.isCompressed || !plain.contains($0.original) }
  }
}

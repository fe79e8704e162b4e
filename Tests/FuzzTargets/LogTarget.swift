internal import AccessLog
internal import Foundation
internal import KMSCore
internal import SystemPackage
internal import Telemetry

/// A signed log, its folder's index behind it: whatever is in them, they are read to the end, and only what its writer
/// wrote is sound.
enum LogTarget {
  /// What `openssl` and `strongroom encrypt` once wrote, and its signer.
  private static let original = Result {
    Array(
      try Data(contentsOf: URL(filePath: #filePath).appending(path: "../../../Fixtures/fuzz/log/signed").standardized))
  }
  private static let name = "access-20261201T182552.688772445Z-14246.jsonl"
  private static let key =
    "audit+6962f3d6+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLVzfj9mSLC+pYQKpI2cVaLgVjFQtqDWdTqmnMbGr6rFxuqoDOFl4yKfj3uN"
    + "EA7QsqNrqSutMtw3AGkZUBNFxaY="
  private static let now = Timestamp(nanoseconds: 1_900_000_000_000_000_000)
  /// The index begins here.
  private static let indexMark = Array(#"{"log":"#.utf8)

  static func run(_ bytes: [UInt8]) throws {
    let folder = FilePath("/dev/shm/strongroom-fuzz-\(ProcessInfo.processInfo.processIdentifier)")
    defer { try? FileManager.default.removeItem(atPath: folder.string) }
    try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
    let (log, index) = parts(bytes)
    try write(log, to: folder.appending(name))
    try write(index, to: folder.appending("access-log.index"))
    guard let key = try? LogVerifierKey(parsing: key) else { fatalError("the key is none") }
    let whole = try original.get()

    let result = try LogVerifier(directory: folder, keys: [key], now: now).verify()
    require(result.isSound || bytes != whole, "the log is not sound as it was written")
    if result.isSound, result.records > 0 || index.contains(0x0A) {
      let (own, list) = parts(whole)
      require(log == own, "a log that was changed is sound")
      // What stands behind the last newline was never finished.
      require(
        index.prefix(list.count).elementsEqual(list) && !index.dropFirst(list.count).contains(0x0A),
        "an index that was changed is sound")
    }
    require(result.json.utf8.allSatisfy { $0 >= 0x20 }, "a finding writes its own lines")
    try prove(folder, key)
    try report(folder)
  }

  private static func prove(_ folder: FilePath, _ key: LogVerifierKey) throws {
    for sequence in 1...6 as ClosedRange<UInt64> {
      let proof: LogProof
      do { proof = try LogProof.make(of: sequence, in: folder) } catch is KMSError { continue }
      guard try LogProof(parsing: proof.description).verified(by: [key]) != nil else { continue }
      let lines = try original.get().split(separator: 0x0A)
      require(lines.prefix(6).contains(proof.record[...]), "a record that nobody wrote is proved")
    }
  }

  private static func report(_ folder: FilePath) throws {
    var report = TelemetryReport(
      versions: [], rotationInterval: .seconds(86_400), since: Timestamp(nanoseconds: .min), now: now)
    report.damaged = try AccessLogReader(directory: folder).forEach(matching: report.filter) { record, _ in
      report.add(record)
      for format in LogExportFormat.allCases { _ = format.line(record) }
    }.damaged
    require(!report.text.isEmpty && !report.json().isEmpty && !report.html.isEmpty, "a report says nothing")
  }

  private static func parts(_ bytes: [UInt8]) -> (log: ArraySlice<UInt8>, index: ArraySlice<UInt8>) {
    let lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
    let start = lines.first { $0.starts(with: indexMark) }?.startIndex ?? bytes.endIndex
    return (bytes[..<start], bytes[start...])
  }

  private static func write(_ bytes: ArraySlice<UInt8>, to path: FilePath) throws {
    let file = try FileDescriptor.open(
      path, .writeOnly, options: [.create, .truncate], permissions: .ownerReadWrite)
    defer { try? file.close() }
    try file.writeAll(bytes)
  }
}

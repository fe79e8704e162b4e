import CryptoPrimitives
import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

@testable import AccessLog

/// Every way to change a sealed log is found, and where.
@Suite struct TamperTests {
  /// Three logs, the second of many files and several checkpoints.
  private func make(_ folder: FilePath) async throws -> TestSigner {
    let test = try await TestSigner()
    try await writeLog(folder, test, events: 20)
    try await writeLog(folder, test, events: 1300, rotateAt: 40_000)
    try await writeLog(folder, test, events: 20)
    return test
  }

  private func logFiles(_ folder: FilePath) throws -> [FilePath] {
    try files(in: folder).filter { $0.hasPrefix("access-2") }.map { folder.appending($0) }
  }

  private typealias Tamper = (_ folder: FilePath, _ logs: [FilePath]) throws -> Void

  private func edit(_ path: FilePath, _ body: (inout [[UInt8]]) throws -> Void) throws {
    var lines = try path.lines
    try body(&lines)
    try path.put(lines.joined())
  }

  private func isCheckpoint(_ line: [UInt8]) -> Bool { line.starts(with: EventLine.checkpointPrefix) }

  @Test func eachWayIsFoundAndNamed() async throws {
    try await withFolder { folder in
      let original = folder.appending("original")
      let test = try await make(original)
      #expect(try test.verify(original).findings == [])
      #expect(try logFiles(original).count >= 7)
      let stranger = try await TestSigner()
      let intro = try #require(try FileIntroduction(of: logFiles(original)[0]))
      let removal = try await stranger.signer.sign(
        RemovedFile(
          origin: intro.origin, file: intro.file, first: 1, last: 23, isEnd: true, until: .now(), removed: .now(),
          keepSeconds: 0
        ).text)
      let forged = try await stranger.signer.sign("access-log/x\n1\n\(Base64.encode(TreeHasher.empty.bytes))\n")
      func change(_ line: inout [UInt8]) {
        line = Array(String(decoding: line, as: UTF8.self).replacing("billing", with: "nobody!").utf8)
      }
      let ways: [(String, String, Tamper)] = [
        ("a changed record", "changed", { _, logs in try edit(logs[2]) { change(&$0[10]) } }),
        (
          "a changed last record", "changed",
          { _, logs in
            try edit(logs.last!) {
              $0[$0.count - 2] = Array(
                String(decoding: $0[$0.count - 2], as: UTF8.self).replacing("closed", with: "opened").utf8)
            }
          }
        ),
        ("a missing record", "missing", { _, logs in try edit(logs[1]) { $0.remove(at: 30) } }),
        ("a missing first record", "foreign-file", { _, logs in try edit(logs[1]) { $0.remove(at: 0) } }),
        (
          "an inserted record", "out-of-place",
          { _, logs in
            try edit(logs[1]) { lines in lines.insert(lines[8], at: 30) }
          }
        ),
        (
          "a duplicated record", "duplicated",
          { _, logs in try edit(logs[1]) { lines in lines.insert(lines[8], at: 9) } }
        ),
        ("swapped records", "out-of-place", { _, logs in try edit(logs[1]) { $0.swapAt(20, 21) } }),
        (
          "a line of garbage", "not-a-record", { _, logs in try edit(logs[1]) { $0.insert(Array("{}\n".utf8), at: 3) } }
        ),
        ("a cut tail", "missing-checkpoint", { _, logs in try edit(logs.last!) { $0.removeLast() } }),
        ("a longer cut tail", "cut", { _, logs in try edit(logs.last!) { $0.removeLast(6) } }),
        ("half a last line", "not-a-record", { _, logs in try logs.last!.put(logs.last!.bytes.dropLast(30)) }),
        (
          "a missing file in the middle", "missing",
          { _, logs in
            try FileManager.default.removeItem(atPath: logs[2].string)
          }
        ),
        ("a missing first file", "missing", { _, logs in try FileManager.default.removeItem(atPath: logs[1].string) }),
        (
          "a missing last file of a log", "cut",
          { _, logs in
            try FileManager.default.removeItem(atPath: logs[logs.count - 2].string)
          }
        ),
        ("a missing log", "missing-log", { _, logs in try FileManager.default.removeItem(atPath: logs[0].string) }),
        (
          "a missing newest log", "missing-log",
          { _, logs in
            try FileManager.default.removeItem(atPath: logs.last!.string)
          }
        ),
        (
          "a log missing in the index", "index",
          { folder, _ in
            try edit(folder.appending(WriterIndex.name)) { $0.remove(at: 1) }
          }
        ),
        (
          "a missing index", "index",
          { folder, _ in
            try FileManager.default.removeItem(atPath: folder.appending(WriterIndex.name).string)
          }
        ),
        (
          "a forged line in the index", "missing-log",
          { folder, _ in
            try edit(folder.appending(WriterIndex.name)) { lines in
              let last = WriterIndex.hash(lines.last!.dropLast())
              lines.append(WriterIndex.Entry(log: "access-log/x", file: "y").line(after: last) + [0x0A])
            }
          }
        ),
        (
          "a checkpoint by another key", "forged-checkpoint",
          { _, logs in
            try edit(logs.last!) { $0[$0.count - 1] = EventLine.checkpoint(forged).bytes }
          }
        ),
        (
          "a checkpoint from another log", "forged-checkpoint",
          { _, logs in
            let other = try logs[0].lines.last!
            try edit(logs.last!) { $0[$0.count - 1] = other }
          }
        ),
        (
          "a missing checkpoint in the middle", "missing-checkpoint",
          { _, logs in
            for log in logs[1..<logs.count - 1] {
              var lines = try log.lines
              guard let at = lines.firstIndex(where: isCheckpoint) else { continue }
              lines.remove(at: at)
              return try log.put(lines.joined())
            }
            Issue.record("there is no checkpoint in the middle")
          }
        ),
        (
          "an older checkpoint again", "forged-checkpoint",
          { _, logs in
            for log in logs[1..<logs.count - 1] {
              var lines = try log.lines
              guard let at = lines.firstIndex(where: isCheckpoint) else { continue }
              lines.insert(contentsOf: lines[at...at + 1], at: at + 2)
              return try log.put(lines.joined())
            }
          }
        ),
        (
          "a renamed file", "foreign-file",
          { folder, logs in
            let name = LogFileName(started: .now(), process: 1).description
            try FileManager.default.moveItem(atPath: logs[0].string, toPath: folder.appending(name).string)
          }
        ),
        (
          "an unsigned file", "foreign-file",
          { folder, _ in
            var line: [UInt8] = []
            EventLine(AccessEvent(.wrap)).write(sequence: 1, to: &line)
            try folder.appending(LogFileName(started: .now(), process: 1).description).put(line)
          }
        ),
        (
          "a deletion that nobody signed", "removal",
          { folder, logs in
            try folder.appending(RemovedFile.name).put([])
            try RemovedFile.record(removal, in: folder)
            try FileManager.default.removeItem(atPath: logs[0].string)
          }
        ),
      ]
      for (i, (way, kind, tamper)) in ways.enumerated() {
        let copy = folder.appending("copy-\(i)")
        try FileManager.default.copyItem(atPath: original.string, toPath: copy.string)
        try tamper(copy, logFiles(copy))
        // Two hours later: none is being written.
        let result = try test.verify(copy, now: .now().advanced(by: .seconds(7200)))
        #expect(result.kinds.contains(kind), "\(way): \(result.findings.prefix(3))")
        try FileManager.default.removeItem(atPath: copy.string)
      }
    }
  }

  /// A log of one line after its first, in a file that its writer seems to have left.
  private func put(_ folder: FilePath, tree: String, sequence: String) throws {
    let name = LogFileName(started: .now(), process: 1).description
    let fields = [(#","log":"#, "access-log/x"), (#","file":"#, name), (#","tree":"#, tree)]
    let rest = fields.map { $0 + "\"\($1)\"" }.joined() + "}\n"
    let lines = [(sequence: "1", type: "file", rest: rest), (sequence: sequence, type: "heartbeat", rest: "}\n")].map {
      #"{"timestamp":"\#(Timestamp.now())","sequence":\#($0.sequence),"record":"\#($0.type)","#
        + #""operation":"log-file","phase":"outcome","success":true,"accessed_by":"strongroom""# + $0.rest
    }
    try folder.appending(name).put(lines.joined().utf8)
  }

  @Test(arguments: ["9999999999999999999", "18446744073709551615", "4611686018427387905", "4611686018427387904", "0"])
  func aNumberBeyondAllLogsIsFound(_ number: String) async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try put(folder, tree: "0", sequence: number)
      let result = try test.verify(folder)
      #expect(!result.isSound && result.findings.allSatisfy { !"\($0)".isEmpty } && !result.json.isEmpty)
      await CrashedLogs(directory: folder, signer: test.signer, durability: .written).close()
    }
    #expect("\(LogFinding(kind: .missing, file: "", line: 1, sequences: 0...UInt64.max, detail: ""))".contains(" to "))
  }

  @Test func aTreeBeyondAllLogsIsFound() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let hashes = Array(repeating: Base64.encode(TreeHasher.empty.bytes), count: 64)
      try put(folder, tree: (["18446744073709551615"] + hashes).joined(separator: ","), sequence: "2")
      #expect(try test.verify(folder).kinds.contains("foreign-file"))
      // As a start does, which goes on.
      await CrashedLogs(directory: folder, signer: test.signer, durability: .written).close()
    }
  }

  /// A log that is gone but for its first line, which no checkpoint covers: with whatever time in it.
  @Test(arguments: ["2200-01-01T00:00:00.000000000Z", "now", "2024-01-01T00:00:00.000000000Z"])
  func aFirstLineDoesNotStandForALog(_ time: String) async throws {
    try await withFolder { folder in
      let test = try await make(folder)
      // Two hours later, when the log that is taken away is no young one any more.
      let now = Timestamp.now().advanced(by: .seconds(7200))
      let time = time == "now" ? now.description : time
      let log = try logFiles(folder)[0]
      try edit(log) { lines in
        lines = [Array(#"{"timestamp":"\#(time)"#.utf8) + lines[0][44...]]
      }
      #expect(try test.verify(folder, now: now).kinds == ["cut"])
    }
  }

  /// A file that is named as it says itself, and not as the index says.
  @Test func aLogBeganInTheFileThatTheIndexNames() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = try AccessLogFile(AccessLogSettings(directory: folder), signer: test.signer)
      try await log.report(AccessEvent(.wrap))
      let copy = folder.appending("copy")
      try FileManager.default.createDirectory(atPath: copy.string, withIntermediateDirectories: false)
      let name = try #require(try logFiles(folder).first?.lastComponent?.string)
      let other = LogFileName(started: .now(), process: 1).description
      let text = try await content(folder, name).replacing(#""file":"\#(name)""#, with: #""file":"\#(other)""#)
      try copy.appending(other).put(text.utf8)
      try copy.appending(WriterIndex.name).put(folder.appending(WriterIndex.name).bytes)
      await log.close()
      #expect(try test.verify(copy).kinds == ["index"])
    }
  }

  @Test func itSaysWhere() async throws {
    try await withFolder { folder in
      let test = try await make(folder)
      let log = try logFiles(folder)[1]
      try edit(log) { $0.remove(at: 30) }
      let found = try #require(try test.verify(folder).findings.first)
      #expect(found.kind == .missing && found.sequences == 31...31 && found.line == 31)
      #expect(found.file == log.lastComponent?.string)
    }
  }

  @Test(arguments: 0..<4) func randomChangesAreFound(_ seed: UInt64) async throws {
    var random = SplitMix(state: seed &* 0x9E37_79B9 &+ UInt64(Date.now.timeIntervalSince1970))
    let start = random.state
    try await withFolder { folder in
      let original = folder.appending("original")
      let test = try await TestSigner()
      try await writeLog(original, test, events: 15)
      try await writeLog(original, test, events: 300, rotateAt: 40_000)
      try compress(logFiles(original)[2])  // a packed one is changed like the others
      try await writeLog(original, test, events: 15)
      for round in 0..<25 {
        let copy = folder.appending("copy")
        try FileManager.default.copyItem(atPath: original.string, toPath: copy.string)
        let names = try files(in: copy)
        let path = copy.appending(names.randomElement(using: &random)!)
        let before = try path.bytes
        let way = Int.random(in: 0..<9, using: &random)
        switch way {
        case 0:
          var bytes = before
          bytes[Int.random(in: bytes.indices, using: &random)] ^= UInt8(1) << UInt8.random(in: 0..<8, using: &random)
          try path.put(bytes)
        case 1: try path.put(before.prefix(Int.random(in: 0..<before.count, using: &random)))
        case 2: try edit(path) { $0.remove(at: Int.random(in: $0.indices, using: &random)) }
        case 3:
          try edit(path) {
            $0.insert($0.randomElement(using: &random)!, at: Int.random(in: 0...$0.count, using: &random))
          }
        case 4: try edit(path) { $0.shuffle(using: &random) }
        case 5: try FileManager.default.removeItem(atPath: path.string)
        case 6: try edit(path) { $0.removeLast(Int.random(in: 1...$0.count, using: &random)) }
        case 7:
          let other = try copy.appending(names.randomElement(using: &random)!).lines.randomElement(using: &random)!
          try edit(path) { $0[Int.random(in: $0.indices, using: &random)] = other }
        default:
          var bytes = before
          let at = Int.random(in: 0...bytes.count, using: &random)
          bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
          try path.put(bytes)
        }
        if (try? path.bytes) != before {
          let result = try test.verify(copy, now: .now().advanced(by: .seconds(7200)))
          // Some bits of a packed file say nothing, such as its time: gzip then gives the very text that was written.
          let name = path.lastComponent?.string ?? ""
          var isUntouched = false
          if result.isSound { isUntouched = try await unpacked(path) == unpacked(original.appending(name)) }
          #expect(!result.isSound || isUntouched, "seed \(start), round \(round), way \(way), \(name)")
        }
        try FileManager.default.removeItem(atPath: copy.string)
      }
    }
  }

  /// By gzip, which finds nothing to complain of; not empty.
  private func unpacked(_ path: FilePath) async throws -> String {
    let result = try await runProcess("/bin/zcat", [path.string])
    try #require(result.status == 0 && result.error.isEmpty && !result.output.isEmpty, "\(path)")
    return result.output
  }

  private struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }
}

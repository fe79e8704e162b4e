import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

@Suite struct AccessLogReaderTests {
  private func line(_ second: Int64, _ sequence: UInt64 = 1) -> String {
    var bytes: [UInt8] = []
    EventLine(AccessEvent(.wrap, timestamp: Timestamp(seconds: second))).write(sequence: sequence, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  private func put(_ folder: FilePath, _ second: Int64, process: Int32 = 1, _ text: String) throws {
    let name = LogFileName(started: Timestamp(seconds: second), process: process).description
    try Data(text.utf8).write(to: URL(filePath: folder.appending(name).string))
  }

  @Test func filesAreMergedByTime() async throws {
    try await withFolder { folder in
      try put(folder, 10, process: 1, line(10) + line(13) + line(40))
      try put(folder, 11, process: 2, line(12) + line(12) + line(30))
      try put(folder, 35, process: 1, line(35))
      try put(folder, 36, process: 3, "")
      let (records, summary) = try readAll(folder)
      #expect(records.map(\.timestamp.seconds) == [10, 12, 12, 13, 30, 35, 40])
      #expect(summary.files == 4 && summary.records == 7 && summary.matched == 7 && summary.damaged.count == 0)
    }
  }

  @Test func damagedLinesArePassedOverAndTold() async throws {
    try await withFolder { folder in
      let cut = String(line(4).dropLast(20))
      let bad = ["", "not json", "[1]", cut, #"{"timestamp":"2026-01-01"}"#, String(line(3).dropLast(1)) + "x"]
      try put(folder, 1, [line(1) + bad.joined(separator: "\n"), line(2, 2) + cut].joined(separator: "\n"))
      let (records, summary) = try readAll(folder)
      #expect(records.map(\.sequence) == [1, 2])
      #expect(summary.damaged.lines.map(\.number) == [2, 3, 4, 5, 6, 7, 9])
      #expect(summary.damaged.lines.map(\.damage) == Array(repeating: .notARecord, count: 6) + [.torn])
      #expect(summary.damaged.lines.last?.description.hasSuffix("-1.jsonl:9: torn") == true)
    }
  }

  @Test func aLineLongerThanAnyIsDamageAndNoMemory() async throws {
    try await withFolder { folder in
      try put(folder, 1, line(1) + String(repeating: "x", count: 3 << 20) + "\n" + line(2, 2))
      let (records, summary) = try readAll(folder)
      #expect(records.map(\.sequence) == [1, 2])
      #expect(summary.damaged.lines.map(\.number) == [2] && summary.damaged.lines.map(\.damage) == [.tooLong])
    }
  }

  @Test func otherFilesAndAMissingFolderAreNoLog() async throws {
    try await withFolder { folder in
      try Data("x".utf8).write(to: URL(filePath: folder.appending("notes.txt").string))
      #expect(try readAll(folder).summary == AccessLogReader.Summary())
      #expect(try readAll(folder.appending("nothing")).summary == AccessLogReader.Summary())
    }
  }

  @Test func theLineIsGivenAsItStands() async throws {
    try await withFolder { folder in
      try put(folder, 1, line(1) + line(2, 2))
      var text = ""
      _ = try AccessLogReader(directory: folder).forEach(matching: AccessFilter()) { _, line in
        text += String(decoding: line, as: UTF8.self) + "\n"
      }
      #expect(text == line(1) + line(2, 2))
    }
  }

  @Test func filtersRestrict() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(AccessLogSettings(directory: folder))
      let (a, b) = (try KeyName("a"), try KeyName("b"))
      let start = Timestamp.now()
      func at(_ second: Int) -> Timestamp { start.advanced(by: .seconds(second)) }
      func event(
        _ second: Int, _ operation: AccessEvent.Operation, _ key: KeyName, _ who: String?, fails: Bool = false
      )
        async throws
      {
        try await log.report(
          AccessEvent(
            operation, timestamp: at(second), key: key, access: Access(principal: who),
            errorCode: fails ? .closed : nil))
      }
      try await event(1, .wrap, a, "x")
      try await event(2, .wrap, b, "y", fails: true)
      try await event(3, .unwrap, a, nil)
      try await log.report(AccessEvent(.rotate, phase: .intent, timestamp: at(4), key: a))
      func sequences(_ filter: AccessFilter) throws -> [UInt64] { try readAll(folder, filter).records.map(\.sequence) }
      #expect(try sequences(AccessFilter(key: "a")) == [1, 3, 4])
      #expect(try sequences(AccessFilter(principal: "x")) == [1])
      #expect(try sequences(AccessFilter(principal: "unidentified", operation: .unwrap)) == [3])
      #expect(try sequences(AccessFilter(operation: .wrap)) == [1, 2])
      #expect(try sequences(AccessFilter(outcome: .failure)) == [2])
      #expect(try sequences(AccessFilter(outcome: .success)) == [1, 3])
      #expect(try sequences(AccessFilter(since: at(2), until: at(4))) == [2, 3])
    }
  }
}

import Foundation
import KMSCore
import Testing

@testable import AccessLog

/// What a line says, read by Foundation's JSON decoder and not by ours.
private struct Line: Decodable, Equatable {
  var timestamp, operation, phase: String
  var sequence: Int
  var keyId, keyVersion, provider, errorCode, errorMessage, accessedBy, requestId, reason: String?
  var success, cached: Bool?
  var durationUs: Double?
  var contextNames: [String]?
}

private func bytes(_ event: AccessEvent, sequence: UInt64 = 1) -> [UInt8] {
  var bytes: [UInt8] = []
  EventLine(event).write(sequence: sequence, to: &bytes)
  return bytes
}

private let decoder = {
  let decoder = JSONDecoder()
  decoder.keyDecodingStrategy = .convertFromSnakeCase
  return decoder
}()

private func decoded(_ event: AccessEvent) throws -> Line {
  try decoder.decode(Line.self, from: Data(bytes(event)))
}

@Suite struct EventLineTests {
  @Test func isExactlyThis() throws {
    let id = try KeyVersionID(parsing: "019ab3f0-1234-7abc-8def-0123456789ab")
    let event = AccessEvent(
      .unwrap, timestamp: Timestamp(rfc3339: "2026-11-24T08:36:00.000000042Z")!, key: try KeyName("customer-pii"),
      version: id, provider: "hsm",
      access: Access(principal: "billing-service", contextNames: ["table", "column"], requestID: "r-7"),
      errorCode: .doesNotOpen, errorMessage: "it does not open", reason: "scheduled", duration: .nanoseconds(1_234_007))
    let text =
      #"{"timestamp":"2026-11-24T08:36:00.000000042Z","sequence":18,"operation":"unwrap","phase":"outcome","#
      + #""key_id":"customer-pii","key_version":"019ab3f0-1234-7abc-8def-0123456789ab","provider":"hsm","success":false,"#
      + #""error_code":"does-not-open","error_message":"it does not open","accessed_by":"billing-service","#
      + #""request_id":"r-7","context_names":["table","column"],"reason":"scheduled","duration_us":1234.007,"cached":false}"#
    #expect(String(decoding: bytes(event, sequence: 18), as: UTF8.self) == text + "\n")
  }

  @Test(arguments: [1, 9, 10, 12345, UInt64.max])
  func anyNumberHasRoom(_ number: UInt64) {
    let event = AccessEvent(.unwrap, timestamp: Timestamp(seconds: 0), access: Access(requestID: "7"))
    let text = String(decoding: bytes(event, sequence: number), as: UTF8.self)
    let rest = String(decoding: bytes(event, sequence: 1), as: UTF8.self)
    #expect(text.contains(#"Z","sequence":\#(number),"operation""#))
    #expect(text == rest.replacing(#""sequence":1,"#, with: #""sequence":\#(number),"#))
  }

  @Test func leavesOutWhatIsAbsent() throws {
    let line = try decoded(AccessEvent(.createVersion, phase: .intent))
    #expect(line.success == nil && line.durationUs == nil && line.cached == nil && line.errorCode == nil)
    #expect(line.keyId == nil && line.provider == nil && line.contextNames == nil && line.phase == "intent")
    #expect(line.accessedBy == "unidentified")
    #expect(!String(decoding: bytes(AccessEvent(.health)), as: UTF8.self).contains("null"))
  }

  @Test(arguments: [
    "", "\"", "\\", "a\"b\\c/d", "line\nbreak\r\n\ttab", "\u{0}\u{1}\u{1F}\u{7F}\u{80}\u{9B}\u{9F}\u{A0}",
    "\u{2028}\u{2029}",
    "åäö ß 漢字 🔐👩‍👩‍👧‍👦", "\u{FEFF}\u{FFFE}\u{FFFF}\u{10FFFF}", "e\u{301}", "\u{8}\u{C}\u{1B}[31mred", "{\"x\":1}",
  ]) func oddTextsComeBack(_ text: String) throws {
    let event = AccessEvent(
      .init(rawValue: text), provider: text,
      access: Access(principal: text, contextNames: [text, text], requestID: text),
      errorCode: .init(rawValue: text), errorMessage: text, reason: text)
    let line = try decoded(event)
    #expect(
      [line.operation, line.provider, line.accessedBy, line.requestId].allSatisfy {
        $0?.unicodeScalars.elementsEqual(text.unicodeScalars) == true
      })
    #expect([line.errorCode, line.errorMessage, line.reason].allSatisfy { $0 == text })
    #expect(line.contextNames == [text, text])
    let raw = bytes(event)
    #expect(raw.count { $0 == 0x0A } == 1 && raw.last == 0x0A && !raw.dropLast().contains { $0 < 0x20 || $0 == 0x7F })
    let record = try #require(AccessRecord(line: raw.dropLast()))
    #expect(record.errorMessage == text && record.contextNames == [text, text] && record.operation.rawValue == text)
  }

  @Test func everyScalarOfThePlaneComesBack() throws {
    let text = String(String.UnicodeScalarView((0...0xFFFF).compactMap { Unicode.Scalar(UInt32($0)) }))
    var json: [UInt8] = []
    json.append(jsonString: text)
    let back = try JSONDecoder().decode(String.self, from: Data(json))
    #expect(back.unicodeScalars.elementsEqual(text.unicodeScalars))
  }

  @Test func longMessagesAreCutBetweenCharacters() throws {
    for (unit, expected) in [("a", 512), ("é", 512), ("漢", 510), ("🔐", 512)] {
      let message = "x" + String(repeating: unit, count: 600)
      let kept = try #require(try decoded(AccessEvent(.wrap, errorCode: .closed, errorMessage: message)).errorMessage)
      #expect(message.hasPrefix(kept))
      #expect(kept.utf8.count <= 512 && kept.utf8.count > expected - 4)
    }
  }

  @Test(arguments: [[1], [0xAB, 0x00, 0xFF], [UInt8](repeating: 0x5A, count: 64)])
  func idsAreWrittenAsTheyPrint(_ id: [UInt8]) throws {
    for id in [try KeyVersionID(id), .make()] {
      #expect(try decoded(AccessEvent(.wrap, version: id)).keyVersion == id.description)
    }
  }

  @Test func fileNamesSortByTime() throws {
    let time = Timestamp(rfc3339: "2026-11-24T08:36:00.123456789Z")!
    let name = LogFileName(started: time, process: 4711)
    #expect(name.description == "access-20261124T083600.123456789Z-4711.jsonl")
    #expect(LogFileName(name.description) == name)
    for other in [
      "access-.jsonl", "access-20261124T083600.123456789Z-x.jsonl", "access.jsonl", name.description + ".zst",
    ] {
      #expect(LogFileName(other) == nil)
    }
  }
}

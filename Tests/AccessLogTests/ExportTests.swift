import Foundation
import KMSCore
import Testing

@testable import AccessLog

/// What other systems are given, read by somebody else's parser.
@Suite struct ExportTests {
  private func record(_ event: AccessEvent) throws -> AccessRecord {
    var line: [UInt8] = []
    EventLine(event).write(sequence: 12, to: &line)
    return try #require(AccessRecord(line: line.dropLast()))
  }

  private var failure: AccessEvent {
    AccessEvent(
      .decrypt, timestamp: Timestamp(rfc3339: "2026-11-24T08:36:00.5Z")!, key: try! KeyName("pii"), provider: "hsm",
      access: Access(principal: "=HYPERLINK(\"x\")", requestID: "a,b", traceID: "4bf9"),
      errorCode: .doesNotOpen, errorMessage: "it says \"no\"", duration: .milliseconds(3))
  }

  private func json(_ format: LogExportFormat, _ event: AccessEvent) throws -> [String: Any] {
    let object = try JSONSerialization.jsonObject(with: Data(format.line(try record(event))))
    return try #require(object as? [String: Any])
  }

  private func value(_ object: [String: Any], _ path: String) -> String? {
    var current: Any? = object
    for name in path.split(separator: ".") { current = (current as? [String: Any])?[String(name)] }
    return current.map { "\($0)" }
  }

  @Test func csvIsQuotedAndNoFormula() throws {
    let header = String(decoding: try #require(LogExportFormat.csv.header), as: UTF8.self)
    #expect(header.hasPrefix("timestamp,sequence,record,operation,phase,key_id,"))
    let line = String(decoding: LogExportFormat.csv.line(try record(failure)), as: UTF8.self)
    #expect(line.hasPrefix("2026-11-24T08:36:00.500000000Z,12,access,decrypt,outcome,pii,"))
    #expect(line.contains(#","'=HYPERLINK(""x"")","a,b",4bf9,"#) && line.contains(#","it says ""no""","#))
  }

  @Test func ecsHasTheSchemasFields() throws {
    let object = try json(.ecs, failure)
    for (path, expected) in [
      ("@timestamp", "2026-11-24T08:36:00.500000000Z"), ("event.action", "decrypt"), ("event.outcome", "failure"),
      ("event.duration", "3000000"), ("error.code", "does-not-open"), ("trace.id", "4bf9"),
      ("strongroom.key_id", "pii"), ("strongroom.request_id", "a,b"), ("event.sequence", "12"),
    ] { #expect(value(object, path) == expected, "\(path)") }
    #expect(value(try json(.ecs, AccessEvent(.wrap)), "event.outcome") == "success")
  }

  /// Whoever can write to the folder writes what numbers he likes.
  @Test(arguments: ["1e300", "-1e300", "9.3e18"]) func aDurationBeyondAllTimeIsExported(_ duration: String) throws {
    let line =
      #"{"timestamp":"2026-11-24T08:36:00.500000000Z","sequence":12,"operation":"wrap","phase":"outcome","#
      + #""success":true,"duration_us":\#(duration)}"#
    let record = try #require(AccessRecord(line: Array(line.utf8)[...]))
    for format in LogExportFormat.allCases { #expect(!format.line(record).isEmpty) }
  }

  @Test func ocsfHasTheSchemasFields() throws {
    let object = try json(.ocsf, failure)
    for (path, expected) in [
      ("class_uid", "6003"), ("activity_id", "2"), ("type_uid", "600302"), ("status_id", "2"),
      ("status_code", "does-not-open"), ("time", "1795509360500"), ("api.operation", "decrypt"),
      ("actor.user.name", "=HYPERLINK(\"x\")"), ("metadata.version", "1.3.0"), ("duration", "3"),
    ] { #expect(value(object, path) == expected, "\(path)") }
    #expect(value(try json(.ocsf, AccessEvent(.createVersion)), "type_uid") == "600301")
  }
}

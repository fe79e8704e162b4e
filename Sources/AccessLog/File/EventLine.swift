import KMSCore

/// One event as a line of the log: a JSON object and a newline. Values that are absent are left out.
///
/// | field | value |
/// |---|---|
/// | `timestamp` | RFC 3339 in UTC, nanoseconds; always the first field |
/// | `sequence` | number of the line, from 1, without gaps over all files of one writer |
/// | `record` | `rotation`, `summary` …; absent for one call or data operation |
/// | `operation` | such as `wrap` |
/// | `phase` | `intent` or `outcome` |
/// | `key_id`, `key_version` | name of the key, id of the version |
/// | `provider` | configured name |
/// | `success` | only in an outcome |
/// | `error_code`, `error_message` | of a failure; the message is cut to 512 bytes |
/// | `accessed_by` | principal, or `unidentified` |
/// | `request_id`, `trace_id` | the caller's own |
/// | `context_names` | names of the encryption context's pairs |
/// | `context_tag` | tells contexts of one process apart; 16 hex digits that say nothing of their values |
/// | `reason` | of a rotation or a change of state |
/// | `duration_us` | microseconds with three decimals; only in an outcome |
/// | `cached` | whether no provider was met; only in an outcome |
/// | `count` | operations that a summary stands for; `duration_us` is their mean |
/// | `contexts` | about how many contexts those had |
struct EventLine: Sendable {
  /// Everything but the sequence number, which the writer gives when it writes; before it, room for that in a record.
  private(set) var bytes: [UInt8]
  /// Where in `bytes` the line begins.
  private(set) var start: Int
  /// A checkpoint is no record.
  let isNumbered: Bool
  /// The writer whose log it belongs to, and none that comes after; nil: whichever writes it.
  var origin: String? = nil
  /// Whether a log that has ended is followed by another for it.
  var beginsLog = true

  /// Longest text in a line, in bytes of UTF-8 before escaping.
  static let textLimit = 512
  // `{"timestamp":"` and 30 bytes and `"`
  private static let sequencePosition = 45
  private static let sequenceName: StaticString = #","sequence":"#
  // For the name, and the 20 digits that a number has at most.
  private static let room = sequenceName.utf8CodeUnitCount + 20

  init(_ event: borrowing AccessEvent) { self.init(event, type: event.recordType) }

  init(unnumbered bytes: [UInt8]) {
    self.bytes = bytes
    start = 0
    isNumbered = false
  }

  /// - Parameter fields: names with all that is around them, and texts that are not cut.
  init(_ event: borrowing AccessEvent, type: AccessEvent.RecordType, fields: [(StaticString, String)] = []) {
    start = Self.room
    bytes = LineBuilder.line(room: Self.room) { line in
      Self.begin(event, type, &line)
      Self.put(event.access, &line)
      Self.put(#","reason":"#, event.reason, &line)
      if event.phase == .outcome { Self.end(event, &line) }
      if let count = event.count {
        line.put(#","count":"#)
        line.put(decimal: UInt64(max(0, count)))
        if type == .summary {
          line.put(#","contexts":"#)
          line.put(decimal: UInt64(max(0, event.contexts.estimate)))
        }
      }
      for (name, text) in fields {
        line.put(name)
        line.put(json: text)
      }
      line.put("}\n")
    }
    isNumbered = true
  }

  private static func put(_ name: StaticString, _ text: String?, _ line: inout LineBuilder) {
    guard let text else { return }
    line.put(name)
    line.put(json: text, limit: textLimit)
  }

  private static func begin(
    _ event: borrowing AccessEvent, _ type: AccessEvent.RecordType, _ line: inout LineBuilder
  ) {
    line.put(#"{"timestamp":""#)
    line.put(event.timestamp.rfc3339Text.span)
    line.put("\"")
    if type != .access { put(#","record":"#, type.rawValue, &line) }
    put(#","operation":"#, event.operation.rawValue, &line)
    line.put(event.phase == .intent ? #","phase":"intent""# : #","phase":"outcome""#)
    put(#","key_id":"#, event.key?.description, &line)
    if let version = event.version { put(version, &line) }
    put(#","provider":"#, event.provider, &line)
    guard event.phase == .outcome else { return }
    line.put(event.success ? #","success":true"# : #","success":false"#)
    put(#","error_code":"#, event.errorCode?.rawValue, &line)
    put(#","error_message":"#, event.errorMessage, &line)
  }

  private static func put(_ access: borrowing Access, _ line: inout LineBuilder) {
    put(#","accessed_by":"#, access.principal ?? AccessRecord.unidentified, &line)
    put(#","request_id":"#, access.requestID, &line)
    put(#","trace_id":"#, access.traceID, &line)
    var isFirst = true
    for name in access.contextNames {
      line.put(isFirst ? #","context_names":["# : ",")
      line.put(json: name, limit: textLimit)
      isFirst = false
    }
    if !isFirst { line.put("]") }
    guard let tag = access.contextTag else { return }
    line.put(#","context_tag":""#)
    line.put(hex: tag, digits: 16)
    line.put("\"")
  }

  private static func end(_ event: borrowing AccessEvent, _ line: inout LineBuilder) {
    let nanoseconds = event.duration.wholeNanoseconds
    line.put(#","duration_us":"#)
    line.put(decimal: nanoseconds / 1000)
    line.put(".")
    line.put(decimal: nanoseconds % 1000, minimumWidth: 3)
    line.put(event.cached ? #","cached":true"# : #","cached":false"#)
  }

  // As `KeyVersionID.description` prints it, without its intermediate strings.
  private static func put(_ id: KeyVersionID, _ line: inout LineBuilder) {
    line.put(#","key_version":""#)
    if let (high, low) = id.uuid {
      line.put(hex: high >> 32, digits: 8)
      line.put("-")
      line.put(hex: high >> 16, digits: 4)
      line.put("-")
      line.put(hex: high, digits: 4)
      line.put("-")
      line.put(hex: low >> 48, digits: 4)
      line.put("-")
      line.put(hex: low, digits: 12)
    } else {
      line.put(id.description.utf8.span)
    }
    line.put("\"")
  }

  /// Puts its number into it, once. Only what stands before the number moves.
  mutating func number(_ sequence: UInt64) {
    let decimal = Decimal(sequence)
    let digits = 20 - decimal.start
    let first = 20 - digits
    start = first
    var line = bytes.mutableSpan
    for i in 0..<Self.sequencePosition { line[first + i] = line[Self.room + i] }
    var end = first + Self.sequencePosition
    for i in 0..<Self.sequenceName.utf8CodeUnitCount {
      line[end] = unsafe Self.sequenceName.utf8Start[i]  // as long as it says
      end += 1
    }
    for i in 0..<digits {
      line[end] = decimal.digits[decimal.start + i]
      end += 1
    }
  }

  /// Where in `bytes` it stands, without its newline.
  var record: Range<Int> { start..<bytes.count - 1 }

  /// Appends the whole line to `output`.
  func write(sequence: UInt64, to output: inout [UInt8]) {
    var line = self
    if isNumbered { line.number(sequence) }
    output.append(line.bytes.span.extracting(line.start...))
  }
}

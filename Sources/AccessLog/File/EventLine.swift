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
struct EventLine: Sendable {
  /// Everything but the sequence number, which the writer gives when it writes.
  let bytes: [UInt8]
  /// A checkpoint is no record.
  let isNumbered: Bool
  /// The writer whose log it belongs to, and none that comes after; nil: whichever writes it.
  var origin: String? = nil

  /// Longest text in a line, in bytes of UTF-8 before escaping.
  static let textLimit = 512
  // `{"timestamp":"` and 30 bytes and `"`
  private static let sequencePosition = 45

  init(_ event: borrowing AccessEvent) { self.init(event, type: event.recordType) }

  init(unnumbered bytes: [UInt8]) {
    self.bytes = bytes
    isNumbered = false
  }

  /// - Parameter fields: names that need no escaping, and texts that are not cut.
  init(_ event: borrowing AccessEvent, type: AccessEvent.RecordType, fields: [(String, String)] = []) {
    var line: [UInt8] = []
    line.reserveCapacity(480)
    line += #"{"timestamp":""#.utf8
    line.append(event.timestamp.rfc3339Text.span)
    line.append(0x22)
    if type != .access {
      line += #","record":"#.utf8
      line.append(jsonString: type.rawValue)
    }
    line += #","operation":"#.utf8
    line.append(jsonString: event.operation.rawValue, limit: Self.textLimit)
    line += (event.phase == .intent ? #","phase":"intent""# : #","phase":"outcome""#).utf8
    func put(_ name: String, _ text: String?) {
      guard let text else { return }
      line += name.utf8
      line.append(jsonString: text, limit: Self.textLimit)
    }
    put(#","key_id":"#, event.key?.description)
    if let version = event.version {
      line += #","key_version":""#.utf8
      Self.append(version, to: &line)
      line.append(0x22)
    }
    put(#","provider":"#, event.provider)
    if event.phase == .outcome {
      line += (event.success ? #","success":true"# : #","success":false"#).utf8
      put(#","error_code":"#, event.errorCode?.rawValue)
      put(#","error_message":"#, event.errorMessage)
    }
    put(#","accessed_by":"#, event.access.principal ?? AccessRecord.unidentified)
    put(#","request_id":"#, event.access.requestID)
    put(#","trace_id":"#, event.access.traceID)
    if !event.access.contextNames.isEmpty {
      line += #","context_names":["#.utf8
      for (i, name) in event.access.contextNames.enumerated() {
        if i > 0 { line.append(0x2C) }
        line.append(jsonString: name, limit: Self.textLimit)
      }
      line.append(0x5D)
    }
    if let tag = event.access.contextTag {
      line += #","context_tag":""#.utf8
      line.append(addingCapacity: 16) { output in
        for i in 0..<16 { output.append(hexDigit(UInt8(truncatingIfNeeded: tag >> UInt64(60 - 4 * i)) & 15)) }
      }
      line.append(0x22)
    }
    put(#","reason":"#, event.reason)
    if event.phase == .outcome {
      let (seconds, attoseconds) = event.duration.components
      let nanoseconds = UInt64(max(0, seconds)) * 1_000_000_000 + UInt64(max(0, attoseconds) / 1_000_000_000)
      line += #","duration_us":"#.utf8
      line.append(decimal: nanoseconds / 1000)
      line.append(0x2E)
      line.append(decimal: nanoseconds % 1000, minimumWidth: 3)
      line += (event.cached ? #","cached":true"# : #","cached":false"#).utf8
    }
    if let count = event.count {
      line += #","count":"#.utf8
      line.append(decimal: UInt64(max(0, count)))
    }
    for (name, text) in fields {
      line += ",\"\(name)\":".utf8
      line.append(jsonString: text)
    }
    line += "}\n".utf8
    bytes = line
    isNumbered = true
  }

  /// Appends the whole line to `output`.
  func write(sequence: UInt64, to output: inout [UInt8]) {
    guard isNumbered else {
      output += bytes
      return
    }
    output += bytes[..<Self.sequencePosition]
    output += #","sequence":"#.utf8
    output.append(decimal: sequence)
    output += bytes[Self.sequencePosition...]
  }

  // As `KeyVersionID.description` prints it, without its intermediate strings.
  private static func append(_ id: KeyVersionID, to line: inout [UInt8]) {
    let (bytes, dashed) = (id.bytes, id.isUUIDv7)
    line.append(addingCapacity: 2 * bytes.count + 4) { output in
      for i in bytes.indices {
        if dashed, i == 4 || i == 6 || i == 8 || i == 10 { output.append(0x2D) }
        output.append(hexDigit(bytes[i] >> 4))
        output.append(hexDigit(bytes[i] & 15))
      }
    }
  }
}

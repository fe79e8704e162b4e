import KMSCore

/// Forms in which other systems take the log.
public enum LogExportFormat: String, Sendable, Hashable, CaseIterable {
  /// RFC 4180, with a header.
  case csv
  /// Elastic Common Schema 8, one JSON object a line.
  case ecs
  /// Open Cybersecurity Schema Framework 1.3, class API Activity (6003), one JSON object a line.
  case ocsf

  /// What stands before the first record, without the newline; nil for nothing.
  public var header: [UInt8]? {
    self == .csv ? Array(AccessRecord.csvColumns.map(\.name).joined(separator: ",").utf8) : nil
  }

  /// One record without the newline.
  public func line(_ record: AccessRecord) -> [UInt8] {
    switch self {
    case .csv: record.csv
    case .ecs: record.ecs
    case .ocsf: record.ocsf
    }
  }
}

extension AccessRecord {
  fileprivate static let csvColumns: [(name: String, value: @Sendable (AccessRecord) -> String?)] = [
    ("timestamp", { $0.timestamp.description }), ("sequence", { String($0.sequence) }),
    ("record", { $0.type.rawValue }),
    ("operation", { $0.operation.rawValue }), ("phase", { $0.phase.rawValue }), ("key_id", { $0.keyID }),
    ("key_version", { $0.keyVersion }), ("provider", { $0.provider }), ("success", { $0.success.map { "\($0)" } }),
    ("error_code", { $0.errorCode }), ("error_message", { $0.errorMessage }), ("accessed_by", { $0.accessedBy }),
    ("request_id", { $0.requestID }), ("trace_id", { $0.traceID }),
    ("context_names", { $0.contextNames.isEmpty ? nil : $0.contextNames.joined(separator: " ") }),
    ("reason", { $0.reason }), ("duration_us", { $0.durationMicroseconds.map { "\($0)" } }),
    ("cached", { "\($0.cached)" }), ("count", { String($0.count) }),
  ]

  // Whatever stands in the file: a century in nanoseconds is as good as longer.
  private static func whole(_ value: Double) -> Int64 { Int64(max(-0x1p62, min(value, 0x1p62))) }

  fileprivate var csv: [UInt8] {
    var line: [UInt8] = []
    for (i, column) in Self.csvColumns.enumerated() {
      if i > 0 { line.append(0x2C) }
      guard let text = column.value(self) else { continue }
      // A spreadsheet takes these for the beginning of a formula.
      let isFormula = text.utf8.first.map { [0x3D, 0x2B, 0x2D, 0x40].contains($0) } ?? false
      let safe = isFormula ? "'" + text : text
      guard safe.utf8.contains(where: { [0x22, 0x2C, 0x0A, 0x0D].contains($0) }) else {
        line += safe.utf8
        continue
      }
      line.append(0x22)
      for byte in safe.utf8 { line += byte == 0x22 ? [0x22, 0x22] : [byte] }
      line.append(0x22)
    }
    return line
  }

  fileprivate var ecs: [UInt8] {
    JSONLine.object { line in
      line.put("@timestamp", timestamp.description)
      line.object("ecs") { $0.put("version", "8.11.0") }
      line.object("event") { event in
        event.put("kind", "event")
        event.put("category", ["iam"])
        event.put("type", [operation.isDailyUse ? "access" : "change"])
        event.put("module", "strongroom")
        event.put("dataset", "strongroom.access")
        event.put("action", operation.rawValue)
        event.put("outcome", success.map { $0 ? "success" : "failure" } ?? "unknown")
        event.put("sequence", number: Int64(clamping: sequence))
        event.put("reason", reason)
        event.put("duration", number: durationMicroseconds.map { Self.whole($0 * 1000) })
      }
      line.object("user") { $0.put("name", accessedBy) }
      line.object("service") { $0.put("name", "strongroom") }
      line.object("error") { error in
        error.put("code", errorCode)
        error.put("message", errorMessage)
      }
      line.object("trace") { $0.put("id", traceID) }
      line.object("strongroom") { own in
        own.put("record", type.rawValue)
        own.put("phase", phase.rawValue)
        own.put("key_id", keyID)
        own.put("key_version", keyVersion)
        own.put("provider", provider)
        own.put("request_id", requestID)
        own.put("context_names", contextNames)
        own.put("cached", flag: cached)
        own.put("count", number: Int64(count))
      }
    }
  }

  fileprivate var ocsf: [UInt8] {
    let activity: Int64 =
      switch operation {
      case .createVersion, .importVersion, .adoptVersion: 1
      case .unwrap, .decrypt, .directDecrypt, .listVersions, .listAdoptable, .health: 2
      case .setState, .rotate, .rewrap: 3
      default: 99
      }
    let status: (id: Int64, name: String) = success.map { $0 ? (1, "Success") : (2, "Failure") } ?? (0, "Unknown")
    return JSONLine.object { line in
      line.put("class_uid", number: 6003)
      line.put("category_uid", number: 6)
      line.put("activity_id", number: activity)
      line.put("activity_name", activity == 99 ? operation.rawValue : nil)
      line.put("type_uid", number: 600_300 + activity)
      line.put("time", number: timestamp.nanoseconds / 1_000_000)
      line.put("severity_id", number: success == false ? 3 : 1)
      line.put("status_id", number: status.id)
      line.put("status", status.name)
      line.put("status_code", errorCode)
      line.put("status_detail", errorMessage)
      line.put("message", reason)
      line.put("count", number: Int64(count))
      line.put("duration", number: durationMicroseconds.map { Self.whole($0 / 1000) })
      line.object("metadata") { metadata in
        metadata.put("version", "1.3.0")
        metadata.put("sequence", number: Int64(clamping: sequence))
        metadata.put("log_name", type.rawValue)
        metadata.put("correlation_uid", traceID ?? requestID)
        metadata.object("product") { product in
          product.put("name", "Strongroom")
          product.put("vendor_name", "Strongroom")
        }
      }
      line.object("actor") { actor in actor.object("user") { $0.put("name", accessedBy) } }
      line.object("api") { api in
        api.put("operation", operation.rawValue)
        api.object("service") { $0.put("name", provider ?? "strongroom") }
        api.object("request") { $0.put("uid", requestID) }
        api.object("response") { response in
          response.put("error", errorCode)
          response.put("error_message", errorMessage)
        }
      }
      line.object("src_endpoint") { $0.put("svc_name", "strongroom") }
      line.objects("resources") { key in
        guard keyID != nil || keyVersion != nil else { return }
        key.put("type", "key")
        key.put("name", keyID)
        key.put("uid", keyVersion)
      }
      line.object("unmapped") { rest in
        rest.put("phase", phase.rawValue)
        rest.put("cached", flag: cached)
        rest.put("context_names", contextNames)
      }
    }
  }
}

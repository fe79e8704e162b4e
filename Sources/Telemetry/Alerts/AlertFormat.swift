internal import AccessLog
import KMSCore

extension Alert {
  /// One line for a person, without control characters.
  public var line: String {
    let text = "strongroom alert: \(timestamp.description.prefix(19))Z \(rule): \(message)"
    let again = repeats == 0 ? "" : " (\(repeats) more since the last time)"
    return TextTable.printable(text + again)
  }

  /// One line of JSON as Alertmanager posts to webhooks (version 4), so that what takes those takes this.
  public var webhook: String {
    let labels = JSONValue.object([
      ("alertname", .string("strongroom-\(rule)")), ("key", key.map(JSONValue.string)),
      ("principal", principal.map(JSONValue.string)), ("provider", provider.map(JSONValue.string)),
      ("operation", operation.map(JSONValue.string)),
    ])
    return JSONValue.object([
      ("version", .string("4")), ("status", .string("firing")), ("receiver", .string("strongroom")),
      (
        "alerts",
        .array([
          .object([
            ("status", .string("firing")), ("labels", labels),
            (
              "annotations",
              .object([("summary", .string(message)), ("repeats", .string("\(repeats)"))])
            ),
            ("startsAt", .string(timestamp.description)),
          ])
        ])
      ),
    ]).line
  }
}

public import ArgumentParser
public import Strongroom

struct Log: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Look at the access log.", subcommands: [Show.self])

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print events, oldest first.",
      discussion: """
        EXAMPLES
          strongroom log show --since 1h
          strongroom log show --key customer-pii --outcome failure --json
          strongroom log show --since 90d --changes
        """)
    @OptionGroup var suite: SuiteOptions
    @OptionGroup var period: PeriodOptions
    @OptionGroup var format: JSONOption
    @Option(name: .long, help: "Only this key.") var key: String?
    @Option(name: .customLong("by"), help: "Only this principal.") var by: String?
    @Option(name: .long, help: "Only this operation: wrap, unwrap, encrypt, decrypt, rotate ….") var operation: String?
    @Flag(name: .long, help: "Only what happened to keys: made, taken in, rotated, retired, destroyed, census ….")
    var changes = false
    @Option(name: .long, help: "Only success or failure.") var outcome: AccessFilter.Outcome?

    func run() async throws {
      let configuration = try suite.load()
      let filter = AccessFilter(
        key: key, principal: by, operation: operation.map { AccessEvent.Operation(rawValue: $0) },
        isChange: changes, outcome: outcome, since: try period.start(), until: try period.end())
      let summary = try AccessLogReader(directory: configuration.accessLog.directory).forEach(matching: filter) {
        record, line in
        if format.json {
          Terminal.print(String(decoding: line, as: UTF8.self))
        } else {
          Terminal.print(Self.line(record))
        }
      }
      for line in summary.damaged.lines { Terminal.note("strongroom: \(line)") }
    }

    private static func line(_ record: AccessRecord) -> String {
      let outcome =
        switch record.success {
        case true?: Terminal.styled("ok    ", .good)
        case false?: Terminal.styled("FAILED", .bad)
        case nil: Terminal.styled("intent", .dim)
        }
      var text = "\(record.timestamp.description.prefix(23))Z  \(outcome)  "
      text += pad(record.operation.rawValue, 14) + "  " + pad(record.keyID ?? "-", 16) + "  "
      text += pad(record.accessedBy, 12)
      if let provider = record.provider { text += "  " + provider }
      if !record.operation.isDailyUse, let version = record.keyVersion { text += "  " + version }
      if let duration = record.durationMicroseconds, record.phase == .outcome { text += "  \(Int(duration)) µs" }
      if let reason = record.reason { text += "  [\(reason)]" }
      if let error = record.errorMessage { text += "  \(error)" }
      return text
    }

    private static func pad(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(0, width - text.count))
    }
  }
}

extension AccessFilter.Outcome: ExpressibleByArgument {}

/// A stretch of time.
struct PeriodOptions: ParsableArguments {
  @Option(name: .long, help: "From: a time ago (90s, 30m, 24h, 7d) or a time (2026-11-24T08:00:00Z).")
  var since: String?
  @Option(name: .long, help: "To: likewise.")
  var until: String?

  func start() throws -> Timestamp? { try since.map { try Self.moment($0, option: "--since") } }
  func end() throws -> Timestamp? { try until.map { try Self.moment($0, option: "--until") } }

  private static func moment(_ text: String, option: String) throws -> Timestamp {
    if let time = Timestamp(rfc3339: text) { return time }
    guard let duration = Duration(unitText: text) else {
      throw KMSError(
        .invalidInput, "\(option) '\(text.prefix(40))' is no time",
        advice: "Write 90s, 30m, 24h or 7d, or a time such as 2026-11-24T08:00:00Z.")
    }
    return Timestamp.now().advanced(by: .zero - duration)
  }
}

import ArgumentParser
import Strongroom

struct LogShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Print events, oldest first.",
    discussion: """
      EXAMPLES
        strongroom log show --since 1h
        strongroom log show --key customer-pii --outcome failure --json
        strongroom log show --since 90d --changes
      """)
  @OptionGroup var suite: SuiteOptions
  @OptionGroup var period: PeriodOptions
  @OptionGroup var filter: LogFilterOptions
  @OptionGroup var format: JSONOption

  func run() async throws {
    let directory = try suite.load().accessLog.directory
    let summary = try AccessLogReader(directory: directory).forEach(matching: filter.filter(period)) { record, line in
      LogLine.print(record, line, json: format.json)
    }
    for line in summary.damaged.lines { Terminal.note("strongroom: \(line)") }
  }
}

struct LogFollow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "follow", abstract: "Print events as they are logged, by all processes, until interrupted.",
    discussion: """
      EXAMPLES
        strongroom log follow
        strongroom log follow --outcome failure --json
      """)
  @OptionGroup var suite: SuiteOptions
  @OptionGroup var filter: LogFilterOptions
  @OptionGroup var format: JSONOption

  func run() async throws {
    let filter = try filter.filter()
    var follower = try LogFollower(directory: suite.load().accessLog.directory)
    while true {
      try follower.poll(matching: filter) { record, line in LogLine.print(record, line, json: format.json) }
      try await Task.sleep(for: .milliseconds(200))
    }
  }
}

/// An event for a person, or as it stands in the log.
enum LogLine {
  static func print(_ record: AccessRecord, _ line: ArraySlice<UInt8>, json: Bool) {
    Terminal.printOrEnd(json ? String(decoding: line, as: UTF8.self) : text(record))
  }

  private static func text(_ record: AccessRecord) -> String {
    let outcome =
      switch record.success {
      case true?: Terminal.styled("ok    ", .good)
      case false?: Terminal.styled("FAILED", .bad)
      case nil: Terminal.styled("intent", .dim)
      }
    var text = "\(record.timestamp.description.prefix(23))Z  \(outcome)  "
    text += pad(record.operation.rawValue, 14) + "  " + pad(record.keyID ?? "-", 16) + "  "
    text += pad(record.accessedBy, 12)
    if let provider = record.provider { text += "  " + Terminal.visible(provider) }
    if !record.operation.isDailyUse, let version = record.keyVersion { text += "  " + Terminal.visible(version) }
    if record.type == .summary { text += "  \(record.count) times" }
    // Whoever can write to the folder writes what numbers he likes.
    if let duration = record.durationMicroseconds, record.phase == .outcome {
      text += "  \(Int(max(-1e15, min(duration, 1e15)))) µs"
    }
    if let reason = record.reason { text += "  [\(Terminal.visible(reason))]" }
    if let error = record.errorMessage { text += "  \(Terminal.visible(error))" }
    return text
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    let text = Terminal.visible(text)
    return text + String(repeating: " ", count: max(0, width - text.count))
  }
}

public import ArgumentParser
public import Strongroom

struct Log: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "log",
    abstract: "Look at the access log, check it, and hand it on.",
    subcommands: [
      LogShow.self, LogFollow.self, LogExport.self, LogVerify.self, LogProve.self, LogCheck.self, LogKey.self,
    ])
}

/// Which records are wanted.
struct LogFilterOptions: ParsableArguments {
  @Option(name: .long, help: "Only this key.") var key: String?
  @Option(name: .customLong("by"), help: "Only this principal.") var by: String?
  @Option(name: .long, help: "Only this operation: wrap, unwrap, encrypt, decrypt, rotate ….") var operation: String?
  @Flag(name: .long, help: "Only what happened to keys: made, taken in, rotated, retired, destroyed, census ….")
  var changes = false
  @Option(name: .long, help: "Only success or failure.") var outcome: AccessFilter.Outcome?
  @Flag(name: .long, help: "Also what the log says of itself: files begun, heartbeats, checkpoints.") var own = false

  func filter(_ period: PeriodOptions? = nil) throws -> AccessFilter {
    AccessFilter(
      key: key, principal: by, operation: operation.map { AccessEvent.Operation(rawValue: $0) }, isChange: changes,
      includesOwn: own, outcome: outcome, since: try period?.start(), until: try period?.end())
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

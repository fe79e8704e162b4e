public import ArgumentParser
public import Strongroom

struct LogExport: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Print events in a form that other systems take.",
    discussion: """
      csv is RFC 4180 with a header; ecs is Elastic Common Schema 8 and ocsf is
      OCSF 1.3 (API Activity), one JSON object a line.

      EXAMPLES
        strongroom log export --format csv --since 30d > log.csv
        strongroom log export --format ecs --since 1h
      """)
  @OptionGroup var suite: SuiteOptions
  @OptionGroup var period: PeriodOptions
  @OptionGroup var filter: LogFilterOptions
  @Option(name: .long, help: "csv, ecs or ocsf.") var format: LogExportFormat

  func run() async throws {
    let directory = try suite.load().accessLog.directory
    if let header = format.header { Terminal.printOrEnd(String(decoding: header, as: UTF8.self)) }
    let summary = try AccessLogReader(directory: directory).forEach(matching: filter.filter(period)) { record, _ in
      Terminal.printOrEnd(String(decoding: format.line(record), as: UTF8.self))
    }
    for line in summary.damaged.lines { Terminal.note("strongroom: \(line)") }
  }
}

extension LogExportFormat: ExpressibleByArgument {}

import ArgumentParser
import Strongroom
import SystemPackage

struct Report: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Summarise rotations, accesses, failures, latencies and the state of all keys.",
    discussion: """
      EXAMPLES
        strongroom report --since 24h
        strongroom report --json
        strongroom report --since 30d --html report.html
        strongroom report --since 2026-11-01 --until 2026-12-01
      """)
  @OptionGroup var suite: SuiteOptions
  @OptionGroup var period: PeriodOptions
  @OptionGroup var format: JSONOption

  @Option(
    name: .long, help: ArgumentHelp("Write a page to look at: one file, no network.", valueName: "file"),
    completion: .file())
  var html: String?
  @Flag(name: .long, help: "Replace the page when it is there already.") var force = false

  func run() async throws {
    let alerts = try suite.load().telemetry.alerts
    let report = try await suite.withManager {
      try await $0.generateTelemetryReport(since: period.start(), until: period.end(), alerts: alerts)
    }
    if let html { try report.writeHTML(to: FilePath(html), replacing: force) }
    if html == nil || format.json { Terminal.print(format.json ? report.json() : report.text) }
  }
}

import ArgumentParser
import Strongroom

struct Report: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Summarise rotations, accesses, failures, latencies and the state of all keys.",
    discussion: """
      EXAMPLES
        strongroom report --since 24h
        strongroom report --json
      """)
  @OptionGroup var suite: SuiteOptions
  @OptionGroup var period: PeriodOptions
  @OptionGroup var format: JSONOption

  func run() async throws {
    let report = try await suite.withManager { try await $0.generateTelemetryReport(since: period.start()) }
    Terminal.print(format.json ? report.json() : report.text)
  }
}

import ArgumentParser
import Strongroom

struct RotateDue: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rotate",
    abstract: "Rotate every key that is due. For cron or a systemd timer.",
    discussion: """
      EXAMPLES
        strongroom rotate --due --dry-run
        strongroom rotate --due --reason "night shift"

      Due is a key whose current version is older than key-rotation-interval. A
      rotation that was cut off is finished. One that failed is tried again by
      later calls, after a minute, then two, up to an hour; until then the version
      before serves, and the other keys take their turn.

      To rotate one key now, run 'strongroom key rotate NAME'.
      """)

  @OptionGroup var suite: SuiteOptions
  @OptionGroup var format: JSONOption
  @Flag(name: .long, help: "All keys of the provider that makes new versions, where it is time.") var due = false
  @Flag(name: .long, help: "Say how each key stands, and change nothing.") var dryRun = false
  @Option(name: .long, help: "Why, for the log.") var reason = "scheduled"

  func validate() throws {
    guard due else {
      throw ValidationError("say --due, or name one key with 'strongroom key rotate NAME'")
    }
  }

  func run() async throws {
    let results = try await suite.withManager { try await $0.rotateDue(reason: reason, dryRun: dryRun) }
    Terminal.print(format.json ? json(results) : table(results))
    for result in results {
      if let error = result.error { Terminal.note("strongroom: \(result.plan.key): \(error)") }
    }
    if let first = results.lazy.compactMap(\.error).first { throw ExitCode(ExitStatus(first.code).rawValue) }
  }

  private func outcome(_ result: RotationResult) -> String {
    if result.error != nil { return "failed" }
    guard result.version != nil else { return result.plan.standing.rawValue }
    return result.plan.standing == .interrupted ? "finished" : "rotated"
  }

  private func table(_ results: [RotationResult]) -> String {
    Terminal.table(
      results.map { result in
        [
          result.plan.key.description, outcome(result),
          (result.version ?? result.plan.current)?.id.description ?? "-", next(result),
        ]
      }, header: ["KEY", "STATE", "CURRENT VERSION", "NEXT"])
  }

  private func next(_ result: RotationResult) -> String {
    guard let next = result.next else { return "-" }
    return next <= .now() ? "now" : String(next.description.prefix(19)) + "Z"
  }

  private func json(_ results: [RotationResult]) -> String {
    JSONValue.array(
      results.map { result in
        .object([
          ("key", .string(result.plan.key.description)), ("state", .string(outcome(result))),
          ("standing", .string(result.plan.standing.rawValue)),
          ("version", (result.version ?? result.plan.current).map { .string($0.id.description) }),
          ("next", result.next.map { .string($0.description) }),
          ("error_code", (result.error?.code.rawValue).map { .string($0) }),
          ("error", (result.error?.message).map { .string($0) }),
        ])
      }
    ).text
  }
}

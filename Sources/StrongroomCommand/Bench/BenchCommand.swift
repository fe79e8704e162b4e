import ArgumentParser
import Strongroom

struct Bench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measure the configured provider, and what Strongroom adds to it.",
    discussion: """
      EXAMPLES
        strongroom bench
        strongroom bench --callers 1 --callers 8 --seconds 10
        strongroom bench --provider hsm --json

      What is measured stands beside what it can at best be: the token's bare calls,
      or bare AES-GCM in this process. Everything is logged as in earnest, in a log
      of its own that is removed at the end. The key that is used, strongroom-bench,
      is made and destroyed again; both are in the access log.
      """)

  @OptionGroup var suite: SuiteOptions
  @OptionGroup var format: JSONOption

  @Option(name: .long, help: "Tasks that call at once; may be given more than once. 1 and 2 when not given.")
  var callers: [Int] = []

  @Option(name: .long, help: "How long each line is measured.")
  var seconds = 2.0

  enum Part: String, CaseIterable, ExpressibleByArgument { case keys, fields }

  @Option(name: .long, help: "Only this; may be given more than once.")
  var only: [Part] = []

  @Option(name: .long, help: "How many cached keys the fields use in turn.")
  var cachedKeys = 1

  func validate() throws {
    guard (1...1_000_000).contains(cachedKeys) else { throw ValidationError("--cached-keys is from 1 to 1000000") }
    guard callers.allSatisfy({ (1...1000).contains($0) }) else { throw ValidationError("--callers is from 1 to 1000") }
    guard (0.01...3600).contains(seconds) else { throw ValidationError("--seconds is from 0.01 to 3600") }
  }

  private func isWanted(_ part: Part) -> Bool { only.isEmpty || only.contains(part) }

  func run() async throws {
    let callers = callers.isEmpty ? [1, 2] : callers
    let duration = Duration.seconds(seconds)
    let room = try BenchRoom(suite.load())
    try await withPrincipal(suite.principal ?? SuiteOptions.unixUser) {
      var table = BenchTable(provider: room.provider.identity, seconds: seconds)
      try await room.use { room in
        if isWanted(.keys) {
          let bench = try KeyBench(room)
          for count in callers { try await bench.run(callers: count, duration, into: &table) }
        }
        if isWanted(.fields) {
          let bench = try FieldBench(room, keys: cachedKeys)
          for count in callers { try await bench.run(callers: count, duration, into: &table) }
        }
      }
      Terminal.print(format.json ? table.json() : table.text)
    }
  }
}

import ArgumentParser

struct Recovery: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "recovery",
    abstract: "Keys that are kept offline and open everything if the HSM is lost.",
    subcommands: [Create.self, Drill.self, Audit.self])
}

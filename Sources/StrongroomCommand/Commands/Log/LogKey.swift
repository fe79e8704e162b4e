import ArgumentParser
import Strongroom

struct LogKey: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "key", abstract: "Print the public key that the access log is signed with.",
    discussion: """
      Keep it where whoever may change the log cannot: it is what
      'strongroom log verify' trusts. --create makes the key in the provider,
      once; it signs and does nothing else.

      EXAMPLES
        strongroom log key --create > log.pub
      """)
  @OptionGroup var suite: SuiteOptions
  @Flag(name: .long, help: "Make the key if there is none.") var create = false

  func run() async throws {
    let configuration = try suite.load()
    guard let signing = configuration.logSigning else {
      throw KMSError(
        .configurationInvalid, "the access log is not signed",
        advice: "Set access-log.signing-key to a name for the key.")
    }
    let key = try await suite.withManager { manager in
      try await manager.signingKey(named: signing.key, in: signing.provider, creating: create)
    }
    guard let key else {
      throw KMSError(
        .keyNotFound, "there is no signing key '\(signing.key)' in provider '\(signing.provider)' yet",
        advice: "Make it with: strongroom log key --create")
    }
    Terminal.print(LogVerifierKey(key).description)
  }
}

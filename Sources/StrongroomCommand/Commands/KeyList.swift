public import ArgumentParser
public import Strongroom

extension Key {
  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list",
      abstract: "List all key versions, oldest first.",
      discussion: """
        EXAMPLES
          strongroom key list
          strongroom key list --state compromised
          strongroom key list --in old-hsm --ids
        """)
    @OptionGroup var suite: SuiteOptions
    @OptionGroup var selection: VersionSelection
    @OptionGroup var format: JSONOption

    func run() async throws {
      let configuration = try selection.check(suite.load())
      let versions = try await suite.withManager { try await $0.keyVersions() }
      selection.show(versions, configuration, json: format.json)
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "show",
      abstract: "Show one key's versions.",
      discussion: """
        EXAMPLES
          strongroom key show customer-pii
          OLD=$(strongroom key show customer-pii --current --ids)
          strongroom key show customer-pii --state deactivated --ids
        """)
    @OptionGroup var suite: SuiteOptions
    @OptionGroup var selection: VersionSelection
    @OptionGroup var format: JSONOption
    @Argument(help: "The key's name.") var name: String

    func run() async throws {
      let (configuration, key) = (try selection.check(suite.load()), try KeyName(name))
      let versions = try await suite.withManager { try await $0.keyVersions(of: key) }
      guard !versions.isEmpty else {
        throw KMSError(.keyNotFound, "there is no key '\(key)'", advice: "'strongroom key list' shows all.")
      }
      selection.show(versions, configuration, json: format.json)
    }
  }
}

/// Which of the versions to show, and whether to people or to a script.
struct VersionSelection: ParsableArguments {
  @Flag(name: .long, help: "Only the version that wraps new data.")
  var current = false

  @Option(name: .long, help: "Only those in this state.")
  var state: KeyState?

  @Option(name: .customLong("in"), help: ArgumentHelp("Only those in this provider.", valueName: "provider"))
  var holder: String?

  @Option(name: .long, help: "Only those for this purpose.")
  var purpose: KeyPurpose?

  @Flag(name: .long, help: "Print ids only, one a line, for a script.")
  var ids = false

  /// A mistyped provider must not look like one without keys.
  func check(_ configuration: SuiteConfiguration) throws -> SuiteConfiguration {
    guard let holder, !configuration.providers.contains(where: { $0.name == holder }) else { return configuration }
    throw KMSError(
      .invalidInput, "there is no provider '\(holder)'",
      advice: "Configured: \(configuration.providers.map(\.name).joined(separator: ", ")).")
  }

  /// - Parameter versions: all versions of each key, so that the current one can be told.
  func show(_ versions: [KeyVersion], _ configuration: SuiteConfiguration, json: Bool) {
    let currentOnes = Set(
      Dictionary(grouping: versions, by: \.key).values.compactMap { versions in
        // A recovery key serves from wherever it is.
        versions.filter { $0.purpose == .recovery || $0.provider == configuration.provider }.current?.id
      })
    let selected = versions.filter { version in
      (!current || currentOnes.contains(version.id)) && (state.map { $0 == version.state } ?? true)
        && (holder.map { $0 == version.provider } ?? true)
        && (purpose.map { $0 == version.purpose } ?? true)
    }
    guard ids else {
      return print(selected, current: currentOnes, oldest: configuration.dataAtRest.minUnwrapVersion, json: json)
    }
    for version in selected { Terminal.print(version.id.description) }
  }
}

extension KeyState: ExpressibleByArgument {}

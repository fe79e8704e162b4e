import ArgumentParser
import DurableFiles
import Strongroom
import SystemPackage

struct CensusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "census",
    abstract: "Count envelopes by the key version that they need.",
    discussion: """
      EXAMPLES
        strongroom census backups/
        strongroom census shop.db --table people --column email --json
        strongroom census / --sign-off census-2026-11.txt --key audit

      Nothing is opened. --sign-off keeps the result for 'key destroy --census',
      sealed with the configured key or with --key, whose name and the record's
      SHA-256 are in the access log. Take it over everything that there is,
      backups included. What cannot be read may need any version.
      """)

  @OptionGroup var suite: SuiteOptions
  @OptionGroup var sources: SourceOptions
  @OptionGroup var format: JSONOption

  @Option(name: .long, help: ArgumentHelp("Keep the result in this file, signed off.", valueName: "file"))
  var signOff: String?

  @Option(name: .long, help: "Key that seals it; one that is not to be destroyed soon.")
  var key: String?

  func validate() throws {
    guard key == nil || signOff != nil else { throw ValidationError("--key needs --sign-off.") }
  }

  func run() async throws {
    let key = try key.map { try KeyName($0) }
    let census = try await suite.withManager { manager -> Census in
      let file = try signOff.map { try AtomicFile(FilePath($0), replacing: false) }
      var census = try await manager.beginCensus()
      let bar = ProgressBar("counting", total: nil, unit: .items)
      defer { bar.finish() }
      for each in try sources.sources(replacement: nil) {
        var source = try each.open()
        try await manager.count(&source, in: &census) { bar.add($0, fraction: $1) }
      }
      if let file {
        let record = CensusRecord(
          census, places: sources.places, principal: Access.currentPrincipal ?? AccessRecord.unidentified)
        try file.write(try await manager.signOff(record, key: key))
        try file.commit()
      }
      return census
    }
    format.json ? printJSON(census) : printTable(census)
    for failure in census.failures { Terminal.note(Terminal.visible("strongroom: \(failure.name): \(failure.error)")) }
    if let first = census.failures.first { throw ExitCode(ExitStatus(first.error.code).rawValue) }
  }

  private func printTable(_ census: Census) {
    var rows = census.versions.map { version in
      [
        version.key.description, version.id.description, version.state.rawValue, version.provider,
        "\(census.envelopesByVersion[version.id] ?? 0)",
      ]
    }
    rows += census.foreign.map {
      ["?", $0.description, "?", "(none configured)", "\(census.envelopesByVersion[$0] ?? 0)"]
    }
    Terminal.print(Terminal.table(rows, header: ["KEY", "VERSION", "STATE", "PROVIDER", "ENVELOPES"]))
    var line = "\(census.envelopes) envelopes, \(census.failures.count) unreadable"
    if census.underSharedKeys > 0 {
      line += ", \(census.underSharedKeys) under shared keys (their key blobs say what they need)"
    }
    Terminal.print(line + passedOverNote(census.passedOver))
  }

  private func printJSON(_ census: Census) {
    let known = census.versions.map { version -> JSONValue in
      .object([
        ("key", .string(version.key.description)), ("version", .string(version.id.description)),
        ("state", .string(version.state.rawValue)), ("provider", .string(version.provider)),
        ("envelopes", .integer(Int64(census.envelopesByVersion[version.id] ?? 0))),
      ])
    }
    let foreign = census.foreign.map { id -> JSONValue in
      .object([
        ("version", .string(id.description)), ("envelopes", .integer(Int64(census.envelopesByVersion[id] ?? 0))),
      ])
    }
    let unreadable = census.failures.map { failure -> JSONValue in
      .object([("item", .string(failure.name)), ("error", .string(failure.error.description))])
    }
    Terminal.print(
      JSONValue.object([
        ("taken", .string(census.taken.description)), ("envelopes", .integer(Int64(census.envelopes))),
        ("passed_over", .integer(Int64(census.passedOver))),
        ("under_shared_keys", .integer(Int64(census.underSharedKeys))), ("versions", .array(known)),
        ("not_configured", .array(foreign)), ("unreadable", .array(unreadable)),
      ]).text)
  }
}

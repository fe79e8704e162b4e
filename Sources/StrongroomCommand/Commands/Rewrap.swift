import ArgumentParser
import Strongroom

struct Rewrap: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rewrap",
    abstract: "Wrap the content keys of envelopes under the current key versions; bodies stay as they are.",
    discussion: """
      EXAMPLES
        strongroom rewrap backups/ --dry-run
        strongroom rewrap backups/ archive.sealed
        strongroom rewrap people.csv --column email --column card --row-key id
        strongroom rewrap events.jsonl --column payload
        strongroom rewrap shop.db --table people --column email --jobs 2

      Each file is replaced in one step, each batch of an SQLite table is one
      transaction. What was cut off is finished by the same command again. What
      cannot be rewrapped is left as it is and listed at the end.

      REWRAP OR REENCRYPT
        rewrap      after a rotation, before an old version is destroyed, after
                    recovery keys have changed. It does not revoke: whoever has an
                    old copy of the data can open it with the old key. Where a
                    provider wraps by AES-GCM it needs --context, too.
        reencrypt   after a KEK or a content key may have leaked: new content
                    keys, new bodies. It needs the same --context as encrypt.
      """)

  @OptionGroup var suite: SuiteOptions
  @OptionGroup var bulk: BulkArguments

  @Flag(
    name: .long,
    help: "Overwrite a file's header where it is, under a journal, instead of replacing the file: for huge files.")
  var inPlace = false

  func run() async throws {
    let report = try await suite.withManager { manager in
      try await warnOfLeaks(manager)
      return try await bulk.run("rewrapping", replacement: inPlace ? .inPlace : .atomic) {
        source, options, bar in
        try await manager.rewrap(&source, with: options) { bar.add($0, fraction: $1) }
      }
    }
    try bulk.print(report, done: "rewrapped")
  }

  private func warnOfLeaks(_ manager: DataAtRestManager) async throws {
    let leaked = Set(try await manager.keyVersions().filter { $0.state == .compromised }.map(\.key.description))
    guard !leaked.isEmpty else { return }
    Terminal.note(
      "strongroom: warning: there are compromised versions of \(leaked.sorted().joined(separator: ", ")). Who has one "
        + "has the content keys under it, also after a rewrap: 'strongroom reencrypt' makes new ones.")
  }
}

struct Reencrypt: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reencrypt",
    abstract: "Encrypt envelopes anew, with new content keys and bodies, after a leak.",
    discussion: """
      EXAMPLES
        strongroom reencrypt letter.sealed --context path=letter.txt
        strongroom reencrypt people.csv --column email --row-key id --key clean

      For the case that a KEK or a content key may have leaked: mark the version
      with 'key compromise', rotate, then reencrypt. After a planned rotation,
      'rewrap' is enough and much faster. A copy that somebody kept opens with
      what leaked, whatever is done here.

      --context must be as for encrypt. Files are replaced in one step each.
      """)

  @OptionGroup var suite: SuiteOptions
  @OptionGroup var bulk: BulkArguments

  @Option(name: .long, help: "Key to encrypt under, instead of each envelope's own.")
  var key: String?

  func run() async throws {
    let key = try key.map { try KeyName($0) }
    let report = try await suite.withManager { manager in
      try await bulk.run("reencrypting") { source, options, bar in
        try await manager.reencrypt(&source, key: key, with: options) { bar.add($0, fraction: $1) }
      }
    }
    try bulk.print(report, done: "reencrypted")
  }
}

struct Migrate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "migrate",
    abstract: "Move envelopes from one provider's keys to another's; bodies stay as they are.",
    discussion: """
      EXAMPLE
        strongroom migrate --from laptop --to hsm backups/

      Both providers must be configured. Keys that the new one lacks are made in
      it, under the same names. Run it once, then set 'provider' to the new one
      everywhere, so that no new data goes under the old one's keys, then run it
      again. When nothing failed here and in any other place with data, the old
      provider can leave the configuration: 'strongroom census' shows whether
      anything still needs it. Step by step: docs/operations.md.

      Where the new provider wraps by AES-GCM, --context is needed as for
      encryption; without it nothing is changed.
      """)

  @OptionGroup var suite: SuiteOptions
  @OptionGroup var bulk: BulkArguments

  @Option(name: .long, help: ArgumentHelp("Provider that the data leaves.", valueName: "provider"))
  var from: String

  @Option(name: .long, help: ArgumentHelp("Provider that it moves to.", valueName: "provider"))
  var to: String

  func run() async throws {
    let report = try await suite.withManager { manager in
      if bulk.dryRun {
        try await checkKeys(manager)
      } else {
        for version in try await manager.makeMissingKeys(of: from, in: to) where !bulk.format.json {
          Terminal.print("made key '\(version.key)' in \(to): version \(version.id)")
        }
      }
      return try await bulk.run("migrating") { source, options, bar in
        try await manager.rewrap(&source, for: .provider(to, leaving: from), with: options) {
          bar.add($0, fraction: $1)
        }
      }
    }
    try bulk.print(report, done: "migrated")
  }

  /// A dry run makes nothing, and has nothing to wrap under where a key is missing.
  private func checkKeys(_ manager: DataAtRestManager) async throws {
    let missing = try await manager.missingKeys(of: from, in: to)
    guard !missing.isEmpty else { return }
    throw KMSError(
      .keyNotFound, "provider \(to) lacks \(missing.map(\.description).joined(separator: ", ")) as yet",
      advice: "A dry run makes no keys; a real one does: begin with one file.", provider: to)
  }
}

import ArgumentParser
import RecoveryShares
import Strongroom
import SystemPackage

extension Recovery {
  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "create",
      abstract: "Make a recovery key: wrap-only in the provider, its copy as shares in files.",
      discussion: """
        EXAMPLE
          strongroom recovery create offline-2026 --shares 5 --threshold 3 \\
            --out /media/safe

        Any THRESHOLD of the shares give the key back, also by Debian's gfcombine.
        The key is given out this once. Run again after a crash, the command
        finishes what it began or takes it back.
        """)

    @OptionGroup var suite: SuiteOptions
    @OptionGroup var format: JSONOption
    @Argument(help: "The key's name, to be named under recovery-recipients.") var name: String
    @Option(name: .long, help: "How many shares to make, 255 at most.") var shares: Int
    @Option(name: .long, help: "How many of them give the key back, 2 at least.") var threshold: Int
    @Option(name: .long, help: "Folder for the shares; made if it is not there.", completion: .directory)
    var out: String

    func run() async throws {
      try SecretSharing.check(shares: shares, threshold: threshold)
      let kit = try RecoveryKit(folder: FilePath(out), key: try KeyName(name))
      let providers = try suite.load().providers.map(\.name)
      try await suite.withManager { manager in
        if try await finish(kit, providers, manager) { return }
        var note: RecoveryNote?
        let version = try await manager.createRecoveryKey(
          kit.key, reason: "\(threshold) of \(shares) shares",
          keep: { secret, planned in
            let new = try RecoveryNote(
              version: planned.id, provider: planned.provider, shares: shares, threshold: threshold)
            note = new
            return try kit.write(secret, new)
          }, discard: { if let note { try kit.discard(note) } })
        if let note { try complete(kit, note, version) }
      }
    }

    /// Goes on where a run was cut off. False when there is nothing to go on with, or what there was is taken back.
    private func finish(_ kit: RecoveryKit, _ providers: [String], _ manager: DataAtRestManager) async throws -> Bool {
      guard let note = try kit.note() else { return false }
      guard !note.isReady else {
        throw KMSError(
          .outputExists, "recovery key '\(kit.key)' is in \(kit.folder) already",
          advice: "Choose another name or another folder.")
      }
      guard providers.contains(note.provider) else {
        throw KMSError(
          .configurationInvalid, "\(kit.notePath) was begun with provider '\(note.provider)', which is not configured",
          advice: "Use the configuration that it was begun with: these may be the only shares of a key there.")
      }
      guard let version = try await manager.keyVersions(of: kit.key).first(where: { $0.id == note.version }) else {
        try kit.discard(note)
        return false
      }
      try await manager.checkRecoveryKey(version, copy: kit.readBack(note))
      try complete(kit, note, version)
      return true
    }

    private func complete(_ kit: RecoveryKit, _ note: RecoveryNote, _ version: KeyVersion) throws {
      try kit.complete(note)
      let files = kit.paths(note)
      guard !format.json else {
        return Terminal.print(
          JSONValue.object([
            ("key", .string(kit.key.description)), ("version", .string(version.id.description)),
            ("provider", .string(version.provider)), ("threshold", .integer(Int64(note.threshold))),
            ("shares", .array(files.map { .string($0.string) })), ("note", .string(kit.notePath.string)),
          ]).text)
      }
      Terminal.print(
        """
        Recovery key \(kit.key), version \(version.id), is in provider \(version.provider). It wraps there, and only that.
        Its copy is in \(note.shares) shares, any \(note.threshold) of which give it back:
        \(files.map { "  \($0)" }.joined(separator: "\n"))

        What to do now:
        1. Name it in the configuration: data-at-rest: { recovery-recipients: [\(kit.key)] }
        2. Try it on something encrypted since:
             strongroom recovery drill FILE \(files.prefix(note.threshold).map { "--share \($0)" }.joined(separator: " "))
        3. Give each share to another keeper, with a copy of \(kit.notePath), then remove it here:
             shred -u \(kit.folder.appending("\(kit.key)")).[0-9][0-9][0-9]
        """)
    }
  }
}

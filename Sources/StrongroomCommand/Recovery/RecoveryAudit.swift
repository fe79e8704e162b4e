import ArgumentParser
import Strongroom

extension Recovery {
  struct Audit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "audit",
      abstract: "Find envelopes that a recovery key would not open.",
      discussion: """
        EXAMPLES
          strongroom recovery audit backups/
          strongroom recovery audit shop.db --table people --column email --json

        Each content key is wrapped to each recovery key again, inside the token
        where it can, and compared with what stands in the envelope. A public key
        wraps otherwise each time: there only presence is told. 'rewrap' adds a
        recipient that is missing; 'reencrypt' mends a wrong one. Exit code 7 when
        there is either.
        """)

    @OptionGroup var suite: SuiteOptions
    @OptionGroup var sources: SourceOptions
    @OptionGroup var format: JSONOption

    func run() async throws {
      let audit = try await suite.withManager { manager -> RecoveryAudit in
        var audit = try await manager.beginRecoveryAudit()
        let bar = ProgressBar("auditing", total: nil, unit: .items)
        defer { bar.finish() }
        for each in try sources.sources(replacement: nil) {
          var source = try each.open()
          try await manager.audit(&source, in: &audit) { bar.add($0, fraction: $1) }
        }
        return audit
      }
      Terminal.print(format.json ? json(audit) : text(audit))
      for failure in audit.failures { Terminal.note(Terminal.visible("strongroom: \(failure.name): \(failure.error)")) }
      let bad = Set(audit.findings.map(\.name)).count
      guard bad == 0 else {
        let advice =
          audit.findings.contains { $0.fault == .wrong }
          ? "Give what has a wrong one a new key with 'strongroom reencrypt'."
          : "Add them with 'strongroom rewrap'."
        Terminal.fail(
          "\(bad) of \(audit.envelopes) envelopes lack a recovery recipient or have a wrong one. \(advice)",
          status: .dataDamaged)
      }
      if let first = audit.failures.first { throw ExitCode(ExitStatus(first.error.code).rawValue) }
    }

    private func text(_ audit: RecoveryAudit) -> String {
      var lines = audit.findings.map { "\(Self.words($0.fault)) \($0.key): \($0.name)" }
      lines.append(
        "\(audit.envelopes) envelopes, \(audit.versions.count) recovery keys: \(audit.verified) recipients verified, "
          + "\(audit.presentOnly) present, \(audit.findings.count) missing or wrong, \(audit.failures.count) unreadable"
      )
      if audit.presentOnly > 0 { lines.append("present: of a public key, whose wraps cannot be compared; drill them") }
      if audit.underSharedKeys > 0 {
        lines.append("\(audit.underSharedKeys) under shared keys, whose key blobs have the recipients: audit those")
      }
      return lines.joined(separator: "\n")
    }

    private static func words(_ fault: RecoveryAudit.Fault) -> String {
      switch fault {
      case .missing: "no recipient for"
      case .earlierVersion: "an earlier version of"
      case .wrong: "a wrong recipient for"
      }
    }

    private func json(_ audit: RecoveryAudit) -> String {
      let findings = audit.findings.map { finding -> JSONValue in
        .object([
          ("item", .string(finding.name)), ("key", .string(finding.key.description)),
          ("fault", .string(finding.fault.rawValue)),
        ])
      }
      let unreadable = audit.failures.map { failure -> JSONValue in
        .object([("item", .string(failure.name)), ("error", .string(failure.error.description))])
      }
      return JSONValue.object([
        ("envelopes", .integer(Int64(audit.envelopes))), ("verified", .integer(Int64(audit.verified))),
        ("present_only", .integer(Int64(audit.presentOnly))),
        ("under_shared_keys", .integer(Int64(audit.underSharedKeys))), ("findings", .array(findings)),
        ("unreadable", .array(unreadable)),
      ]).text
    }
  }
}

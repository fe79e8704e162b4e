import ArgumentParser
import Strongroom

extension Key {
  struct Adopt: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "adopt",
      abstract: "Use a key that somebody else made in the token; without --id, list those that are there.",
      discussion: """
        The key stays as it is; a record beside it says which key it is a version
        of. It is listed as older than every other, and a rotation replaces it.

        EXAMPLES
          strongroom key adopt
          strongroom key adopt --id 0a1b2c --as customer-pii
        """)
    @OptionGroup var suite: SuiteOptions
    @OptionGroup var format: JSONOption
    @Option(name: .long, help: ArgumentHelp("CKA_ID of the key, in hex.", valueName: "hex"))
    var id: String?
    @Option(name: .long, help: ArgumentHelp("The key that it becomes a version of.", valueName: "name"))
    var `as`: String?
    @Option(name: .long, help: "What it is for: wrap or encrypt.")
    var purpose = KeyPurpose.wrap
    @Flag(name: .long, help: "Take from it, for good, what speaks against it: other uses, being readable.")
    var restrict = false

    func validate() throws {
      guard (id == nil) == (`as` == nil) else { throw ValidationError("Give --id and --as, or neither.") }
    }

    func run() async throws {
      guard let id, let name = `as` else {
        let candidates = try await suite.withManager { try await $0.adoptableKeys() }
        return Terminal.print(format.json ? json(candidates).text : table(candidates))
      }
      let adopted = try await suite.withManager {
        try await $0.adoptKey(KeyVersionID(parsing: id), as: KeyName(name), purpose: purpose, restricting: restrict)
      }
      for warning in adopted.warnings { Terminal.note("strongroom: warning: \(warning)") }
      print([adopted.version], json: format.json)
    }

    private func table(_ candidates: [AdoptionCandidate]) -> String {
      Terminal.table(
        candidates.map { candidate in
          let remarks = candidate.obstacles.map(\.problem) + candidate.warnings
          return [
            candidate.id?.description ?? "-", candidate.label, candidate.purpose?.rawValue ?? "-",
            candidate.obstacles.isEmpty
              ? "yes" : candidate.obstacles.allSatisfy(\.isRemovable) ? "with --restrict" : "no",
            remarks.joined(separator: "; "),
          ]
        }, header: ["ID", "LABEL", "PURPOSE", "ADOPTABLE", "REMARKS"])
    }

    private func json(_ candidates: [AdoptionCandidate]) -> JSONValue {
      .array(
        candidates.map { candidate in
          .object([
            ("id", (candidate.id?.description).map { .string($0) }), ("label", .string(candidate.label)),
            ("purpose", (candidate.purpose?.rawValue).map { .string($0) }),
            ("adoptable", .bool(candidate.obstacles.isEmpty)),
            (
              "obstacles",
              .array(
                candidate.obstacles.map {
                  .object([
                    ("problem", .string($0.problem)), ("advice", .string($0.advice)),
                    ("removable", .bool($0.isRemovable)),
                  ])
                })
            ),
            ("warnings", .array(candidate.warnings.map { .string($0) })),
          ])
        })
    }
  }
}

public import ArgumentParser
import DurableFiles
public import Strongroom
import SystemPackage

struct Key: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "key",
    abstract: "Make, list, rotate, take in and retire keys.",
    subcommands: [
      Create.self, Adopt.self, Import.self, List.self, Show.self, Rotate.self, Activate.self, Deactivate.self,
      Suspend.self, Compromise.self,
      Destroy.self,
    ])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "create",
      abstract: "Make a key with its first version.",
      discussion: """
        EXAMPLES
          strongroom key create customer-pii
          strongroom key create pin-block --purpose encrypt
        """)
    @OptionGroup var suite: SuiteOptions
    @OptionGroup var format: JSONOption
    @Argument(help: "The key's name: a-z, 0-9, '.', '_', '-'.") var name: String
    @Option(name: .long, help: "wrap (for envelopes) or encrypt (direct encryption, 64 KiB at most).")
    var purpose = KeyPurpose.wrap

    func run() async throws {
      let version = try await suite.withManager { try await $0.createKey(KeyName(name), purpose: purpose) }
      print([version], json: format.json)
    }
  }

  struct Rotate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "rotate",
      abstract: "Make a new version and deactivate the ones before; they still open what they wrapped.",
      discussion: """
        EXAMPLE
          strongroom key rotate customer-pii --reason "planned, Q4"
        """)
    @OptionGroup var suite: SuiteOptions
    @OptionGroup var format: JSONOption
    @Argument(help: "The key's name.") var name: String
    @Option(name: .long, help: "Why, for the log.") var reason = "manual"

    func run() async throws {
      let version = try await suite.withManager { try await $0.rotate(KeyName(name), reason: reason) }
      print([version], json: format.json)
    }
  }

  /// Shared by the commands that move one version to another state.
  struct StateChange: ParsableArguments {
    @OptionGroup var suite: SuiteOptions
    @OptionGroup var format: JSONOption
    @Argument(help: "Id of the key version, as 'key list' prints it.") var version: String
    @Option(name: .long, help: "Why, for the log.") var reason = "manual"

    func run(_ state: KeyState) async throws {
      let id = try KeyVersionID(parsing: version)
      print([try await suite.withManager { try await $0.setState(state, of: id, reason: reason) }], json: format.json)
    }
  }

  struct Activate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "activate", abstract: "Let a version wrap and unwrap again.")
    @OptionGroup var change: StateChange
    func run() async throws { try await change.run(.active) }
  }

  struct Deactivate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "deactivate", abstract: "Let a version only unwrap.")
    @OptionGroup var change: StateChange
    func run() async throws { try await change.run(.deactivated) }
  }

  struct Suspend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "suspend", abstract: "Let a version neither wrap nor unwrap, for now.")
    @OptionGroup var change: StateChange
    func run() async throws { try await change.run(.suspended) }
  }

  struct Compromise: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "compromise",
      abstract: "Mark a version as leaked: it opens data only with --allow-compromised, and never wraps again.")
    @OptionGroup var change: StateChange
    func run() async throws { try await change.run(.compromised) }
  }

  struct Destroy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "destroy",
      abstract: "Erase a version's key for good. What is wrapped under it alone can never be opened again.",
      discussion: """
        EXAMPLES
          strongroom key deactivate 0193…
          strongroom rewrap /data
          strongroom census /data --sign-off census.txt
          strongroom key destroy 0193… --census census.txt
          strongroom key destroy 0193… --even-if-data-is-lost customer-pii

        The census must have been taken after the version was deactivated, and
        have found nothing under it. Where data is in several places, give one
        for each.
        """)
    @OptionGroup var change: StateChange
    @Option(
      name: .long,
      help: ArgumentHelp(
        "A census that was signed off and found nothing under the version; may be given more than once.",
        valueName: "file"), completion: .file())
    var census: [String] = []
    @Option(name: .long, help: ArgumentHelp("The key's name, to show that you mean it.", valueName: "name"))
    var evenIfDataIsLost: String?

    func validate() throws {
      guard census.isEmpty != (evenIfDataIsLost == nil) else {
        throw ValidationError("Give --census FILE, or --even-if-data-is-lost NAME-OF-THE-KEY.")
      }
    }

    func run() async throws {
      let id = try KeyVersionID(parsing: change.version)
      let justification: DestroyJustification =
        if let evenIfDataIsLost {
          .dataLossAccepted(try KeyName(evenIfDataIsLost))
        } else {
          .censuses(try census.map { try readFile(FilePath($0), limit: 64 << 20) })
        }
      let version = try await change.suite.withManager { manager in
        try await manager.destroy(id, justifiedBy: justification, reason: change.reason)
      }
      print([version], json: change.format.json)
    }
  }
}

extension KeyPurpose: ExpressibleByArgument {}

public import ArgumentParser
public import Strongroom

extension Key {
  struct Import: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "import",
      abstract: "Bring the bytes of a KEK in: 32 bytes that were made elsewhere.",
      discussion: """
        It becomes an active version of the key, and the current one unless --id
        says that it is older. A key that was outside the token once is not as
        safe as one that was made in it; many tokens take none.

        EXAMPLES
          strongroom key import customer-pii --material-source file:kek.hex
          strongroom key import spare --material-source prompt: \\
            --encoding base64 --id 0193ab… --provider local
        """)
    @OptionGroup var suite: SuiteOptions
    @OptionGroup var format: JSONOption
    @Argument(help: "The key's name.") var name: String
    @Option(
      name: .long,
      help: ArgumentHelp("file:PATH, env:VARIABLE, credential:NAME or prompt:; never the key.", valueName: "source"))
    var materialSource: String
    @Option(name: .long, help: "How the key is written: raw, hex or base64.")
    var encoding = KeyEncoding.hex
    @Option(name: .long, help: "wrap (for envelopes) or encrypt (direct encryption).")
    var purpose = KeyPurpose.wrap
    @Option(name: .long, help: "The version's id, to bring one back under the id that envelopes name.")
    var id: String?

    func run() async throws {
      let (key, id) = (try KeyName(name), try id.map { try KeyVersionID(parsing: $0) })
      let material = try SecretBytes.key(from: materialSource, encoding: encoding)
      let version = try await suite.withManager {
        try await $0.importKeyVersion(material, of: key, purpose: purpose, id: id)
      }
      print([version], json: format.json)
    }
  }
}

extension KeyEncoding: ExpressibleByArgument {}

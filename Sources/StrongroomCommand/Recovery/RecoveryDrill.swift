import ArgumentParser
import DurableFiles
import RecoveryShares
import Strongroom
import SystemPackage

extension Recovery {
  struct Drill: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "drill",
      abstract: "Prove that an envelope opens with the offline key alone; no provider is opened.",
      discussion: """
        EXAMPLES
          strongroom recovery drill backup.tar.sealed --share offline.001 \\
            --share offline.004 --share offline.005
          strongroom recovery drill backup.tar.sealed --key-file recovery.key
          strongroom recovery drill backup.tar.sealed --private-key board.pem \\
            --passphrase-source prompt: -o backup.tar

        Every byte is decrypted and authenticated, and written only with -o. Of
        the configuration only the access log's settings are used, so it works
        when HSM and key stores are gone. The drill is logged.
        """)

    @Option(name: .long, help: ArgumentHelp("Configuration file.", valueName: "file"), completion: .file())
    var config: String?
    @Option(name: .long, help: "On whose behalf, for the access log. The unix user when not given.")
    var principal: String?
    @OptionGroup var context: ContextOptions
    @OptionGroup var format: JSONOption
    @Argument(help: "Encrypted file or field; '-' is standard input.", completion: .file()) var envelope: String
    @Option(name: .long, help: ArgumentHelp("A share; give as many as are needed.", valueName: "file"))
    var share: [String] = []
    @Option(name: .long, help: ArgumentHelp("The key: 32 bytes, or 64 hex digits.", valueName: "file"))
    var keyFile: String?
    @Option(name: .long, help: ArgumentHelp("A private RSA key.", valueName: "pem"), completion: .file())
    var privateKey: String?
    @Option(name: .long, help: "Where the private key's passphrase is: file:PATH, env:VARIABLE or prompt:.")
    var passphraseSource: String?
    @Option(name: .shortAndLong, help: "Where to write the plaintext.", completion: .file()) var output: String?
    @Flag(name: .long, help: "Replace an output that is there.") var force = false

    func validate() throws {
      guard [!share.isEmpty, keyFile != nil, privateKey != nil].count(where: { $0 }) == 1 else {
        throw ValidationError("Give one of --share (two or more of them), --key-file and --private-key.")
      }
    }

    func run() async throws {
      let settings = try logSettings()
      let destination = try output.map { try FileEndpoint.output($0, force: force) }
      let key = try offlineKey()
      let bar = ProgressBar("opening", total: nil)
      defer { bar.finish() }
      let log = try AccessLogFile(settings)
      do {
        let result = try await RecoveryDrill(reporter: log).open(
          .input(envelope), with: key, to: destination, context: context.value(),
          principal: principal ?? SuiteOptions.unixUser, progress: bar.add)
        await log.close()
        show(result)
      } catch {
        await log.close()
        throw error
      }
    }

    private func logSettings() throws -> AccessLogSettings {
      let settings = try SuiteConfiguration.loadAccessLog(file: config.map { FilePath($0) })
      if settings.directory.lastComponent?.string == SuiteConfiguration.unsignedLogFolder {
        Terminal.note("strongroom: the log's key is not asked, so this is logged unsigned, in \(settings.directory)")
      }
      return settings
    }

    private func offlineKey() throws -> OfflineKey {
      if let privateKey {
        let path = FilePath(privateKey)
        let source = try passphraseSource.map {
          try SecretSource(parsing: $0, folder: "", environment: ProcessEnvironment.all)
        }
        return try OfflineKey(
          privatePEM: readSecretFile(path, limit: 1 << 16), passphrase: source, name: privateKey)
      }
      if let keyFile { return try OfflineKey(Self.read(keyFile)) }
      return try OfflineKey(SecretSharing.combine(share.map { try ShareFile.read(FilePath($0)) }))
    }

    private static func read(_ keyFile: String) throws -> SecretBytes {
      let content = try readSecretFile(FilePath(keyFile), limit: 256)
      if content.count == 32 { return content }
      do { return try SecretBytes.key(from: "file:\(keyFile)", encoding: .hex) } catch let error as KMSError
        where error.code == .invalidInput
      {
        throw KMSError(
          .invalidInput, "\(keyFile) holds neither 32 bytes nor 64 hex digits",
          advice: "Name the file that gfcombine wrote.")
      }
    }

    private func show(_ result: RecoveryDrill.Result) {
      let isOnOutput = output == "-"
      let facts: [(String, JSONValue)] = [
        ("kind", .string(result.kind.rawValue)), ("recipient", .string(result.recipient.description)),
        ("algorithm", .string(result.algorithm.description)), ("segments", .integer(Int64(result.segments))),
        ("plaintext_bytes", .integer(Int64(result.plaintextBytes))), ("written_to", .string(output ?? "nothing")),
      ]
      let lines =
        format.json
        ? JSONValue.object(facts).text
        : """
        proven: \(envelope) opens with the offline key alone; no provider was opened
        recipient: \(result.recipient), \(result.algorithm)
        authenticated: \(result.plaintextBytes) bytes in \(result.segments) segments, every one
        written: \(output ?? "nothing")
        """
      isOnOutput ? Terminal.note(lines) : Terminal.print(lines)
    }
  }
}

import ArgumentParser
import DurableFiles
import Glibc
import RewrapSources
import Strongroom
import SystemPackage

struct Init: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init",
    abstract: "Write a configuration and make a first key.",
    discussion: """
      EXAMPLES
        strongroom init
          a key store in this folder: strongroom.yaml, keys.p12, its passphrase
        strongroom init --module /usr/lib/softhsm/libsofthsm2.so \\
          --token prod --pin-source file:/run/secrets/pin
          keys in a token

      Nothing that is there already is changed.
      """)

  @Option(name: .long, help: "Configuration file to write.", completion: .file())
  var config = "strongroom.yaml"

  @Option(name: .long, help: "PKCS#11 module (a path); with it, keys are kept in a token.", completion: .file())
  var module: String?

  @Option(name: .long, help: "A text that the module is started with; NSS wants one.")
  var initArgs: String?

  @Option(name: .long, help: "The token's label.")
  var token: String?

  @Option(name: .long, help: "Where the token's PIN is: file:PATH, env:VARIABLE, credential:NAME or prompt:.")
  var pinSource = "prompt:"

  @Option(name: .long, help: "Name of the first key.")
  var key = "default"

  func validate() throws {
    guard (module == nil) == (token == nil) else { throw ValidationError("--module and --token go together.") }
    guard initArgs == nil || module != nil else { throw ValidationError("--init-args needs --module.") }
    guard initArgs?.contains(where: { $0 == "\"" || $0 == "\\" || $0.isNewline }) != true else {
      throw ValidationError("--init-args may not have '\"', '\\' or line breaks.")
    }
  }

  func run() async throws {
    let path = FilePath(config)
    let name = try KeyName(key)
    if module == nil { try writePassphrase(path.removingLastComponent().appending("passphrase")) }
    let file = try AtomicFile(path, replacing: false)
    try file.write(Array(text(key: name).utf8))
    try file.commit()
    var suite = try SuiteOptions.parse(["--config", config])
    suite.principal = nil
    let version: KeyVersion
    do {
      version = try await suite.withManager { manager in
        if let current = try await manager.keyVersions(of: name).current { return current }
        return try await manager.createKey(name)
      }
    } catch {
      unsafe _ = unlink(config)  // a Swift string, for the call; so that init can be run again
      throw error
    }
    Terminal.print("wrote \(config)")
    Terminal.print("key '\(name)' is ready in provider \(version.provider): version \(version.id)")
    Terminal.print(
      "next: strongroom encrypt FILE -o FILE.sealed\(config == "strongroom.yaml" ? "" : " --config \(config)")")
  }

  private func writePassphrase(_ path: FilePath) throws {
    guard try FileStatus(path) == nil else { return }
    let random = SecretBytes.random(count: 24)
    let file = try AtomicFile(path, replacing: false)
    try file.write(Base64.encode(random.unprotectedCopy()) + [0x0A])
    try file.commit()
    Terminal.print("wrote \(path) (readable by you only; keep a copy where this machine's backups do not go)")
  }

  private func text(key: KeyName) -> String {
    let provider =
      if let module, let token {
        """
        provider: hsm
        providers:
          hsm:
            type: pkcs11
            uri: "pkcs11:token=\(percentEncoded(token))?module-path=\(module)"
            pin-source: "\(pinSource)"\(initArgs.map { "\n    init-args: \"\($0)\"" } ?? "")
        """
      } else {
        """
        provider: local
        providers:
          local: { type: openssl, keystore: keys.p12, passphrase-source: "file:passphrase" }
        """
      }
    return """
      # Strongroom. Every setting is described in docs/configuration.md.
      \(provider)
      data-at-rest:
        kms-encryption-enabled: true
        kms-key-id: \(key)
        envelope-encryption-enabled: true
        encryption-algorithm: AES-256-GCM
        key-rotation-interval: 24h
      access-log: { path: log, rotate-at: 100MiB, keep: 365d, durability: written, deadline: 2s }

      """
  }

  private func percentEncoded(_ text: String) -> String {
    text.utf8.map { byte in
      let character = Character(Unicode.Scalar(byte))
      return character.isASCII && (character.isLetter || character.isNumber || "-._".contains(character))
        ? String(character) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }.joined()
  }
}

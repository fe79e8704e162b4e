import ArgumentParser
import DurableFiles
import RewrapSources
import Strongroom
import SystemPackage

struct Encrypt: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "encrypt",
    abstract: "Encrypt a file, standard input, or columns of a CSV table.",
    discussion: """
      EXAMPLES
        strongroom encrypt backup.tar -o backup.tar.sealed --context path=backup.tar
        tar c data | strongroom encrypt - -o data.tar.sealed
        strongroom encrypt people.csv -o people.sealed.csv \\
          --column email --column card --row-key id

      The output appears under its name only when it is whole. With --column,
      each value becomes a base64 envelope of its own, whose context also holds
      column and, with --row-key, row.
      """)

  @OptionGroup var suite: SuiteOptions
  @OptionGroup var context: ContextOptions
  @OptionGroup var table: TableOptions

  @Argument(help: "File to encrypt; '-' is standard input.", completion: .file())
  var input: String

  @Option(name: .shortAndLong, help: "Output; '-' is standard output.", completion: .file())
  var output: String

  @Option(name: .long, help: "Key to encrypt under, instead of the configured one.")
  var key: String?

  @Flag(name: .long, help: "Replace an output that is there.")
  var force = false

  func run() async throws {
    let key = try key.map { try KeyName($0) }
    let destination = try FileEndpoint.output(output, force: force)
    try await suite.withManager { manager in
      if table.isUsed {
        try await table.rewrite(input, to: destination, context: context.pairs()) { value, context in
          Base64.encode(try await manager.encrypt(value, context: context, key: key))
        }
        return
      }
      let bar = ProgressBar("encrypting", total: fileSize(input))
      defer { bar.finish() }
      try await manager.encryptFile(
        from: .input(input), to: destination, context: context.value(), key: key, progress: bar.add)
    }
  }
}

struct Decrypt: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decrypt",
    abstract: "Decrypt what 'encrypt' made.",
    discussion: """
      EXAMPLES
        strongroom decrypt backup.tar.sealed -o backup.tar --context path=backup.tar
        strongroom decrypt data.tar.sealed -o - | tar x
        strongroom decrypt people.sealed.csv -o people.csv \\
          --column email --column card --row-key id
        strongroom decrypt disk.img.sealed -o - --offset 4096 --length 512

      A file appears under its name only when all of it was authenticated. On
      standard output, data comes as it is authenticated, block by block: use it
      only when the exit code is 0. With --offset or --length, only what is asked
      for and the end of the file, which shows that nothing is missing, are read.
      """)

  @OptionGroup var suite: SuiteOptions
  @OptionGroup var context: ContextOptions
  @OptionGroup var table: TableOptions

  @Argument(help: "File to decrypt; '-' is standard input.", completion: .file())
  var input: String

  @Option(name: .shortAndLong, help: "Output; '-' is standard output.", completion: .file())
  var output: String

  @Flag(name: .long, help: "Replace an output that is there.")
  var force = false

  @Flag(name: .long, help: "Use key versions that are marked compromised.")
  var allowCompromised = false

  @Option(name: .long, help: "Decrypt from this byte of the plaintext on.")
  var offset: Int?

  @Option(name: .long, help: "Decrypt so many bytes, or fewer at the end of the file.")
  var length: Int?

  func validate() throws {
    guard offset != nil || length != nil else { return }
    guard (offset ?? 0) >= 0, (length ?? 0) >= 0 else {
      throw ValidationError("--offset and --length are not negative.")
    }
    guard input != "-", !table.isUsed else {
      throw ValidationError("--offset and --length need a file: a pipe or a table is read from its start.")
    }
  }

  func run() async throws {
    let destination = try FileEndpoint.output(output, force: force)
    try await suite.withManager { manager in
      if table.isUsed {
        try await table.rewrite(input, to: destination, context: context.pairs()) { value, context in
          try await manager.decrypt(
            Base64.decode(value), context: context, allowCompromised: allowCompromised)
        }
        return
      }
      if offset != nil || length != nil { return try await decryptPart(with: manager, to: destination) }
      let bar = ProgressBar("decrypting", total: fileSize(input))
      defer { bar.finish() }
      try await manager.decryptFile(
        from: .input(input), to: destination, context: context.value(), allowCompromised: allowCompromised,
        progress: bar.add)
    }
  }
}

extension Decrypt {
  private func decryptPart(with manager: DataAtRestManager, to destination: FileEndpoint) async throws {
    let file = try await manager.openFile(
      FilePath(input), context: context.value(), allowCompromised: allowCompromised)
    let start = offset ?? 0
    guard start <= file.count else {
      throw KMSError(
        .invalidInput, "--offset \(start) is behind the end: \(input) holds \(file.count) bytes",
        advice: "Give an offset of \(file.count) at most.")
    }
    let count = min(length ?? .max, file.count - start)
    let bar = ProgressBar("decrypting", total: count)
    defer { bar.finish() }
    try await file.decrypt(from: start, count: count, to: destination, progress: bar.add)
  }
}

private func fileSize(_ input: String) -> Int? {
  guard input != "-", let status = try? FileStatus(FilePath(input)), status.isRegularFile else { return nil }
  return Int(status.size)
}

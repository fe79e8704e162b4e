import ArgumentParser
import DurableFiles
import Strongroom
import SystemPackage

/// Public keys of a log's signatures.
struct LogKeyOptions: ParsableArguments {
  @Option(
    name: .customLong("public-key"),
    help: ArgumentHelp(
      "A file with what 'strongroom log key' printed, or that line; may be given more than once.",
      valueName: "file or line"), completion: .file())
  var publicKeys: [String]

  func keys() throws -> [LogVerifierKey] {
    guard !publicKeys.isEmpty else {
      throw KMSError(
        .invalidInput, "no public key is given", advice: "Give the key that you kept apart, with --public-key.")
    }
    return try publicKeys.flatMap { text in
      let path = FilePath(text)
      guard try FileStatus(path) != nil else { return [try LogVerifierKey(parsing: text)] }
      let lines = String(decoding: try readFile(path, limit: 1 << 16), as: UTF8.self)
        .split(whereSeparator: \.isNewline)
      return try lines.map { try LogVerifierKey(parsing: String($0)) }
    }
  }
}

struct LogVerify: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Check that a folder's signed log is as it was written.",
    discussion: """
      Needs nothing but the folder, or a copy of it, and the public key. It
      finds records that were changed, removed, inserted, moved or repeated,
      missing files, forged or missing checkpoints, and silence.
      Exits with 7 when there is anything.

      EXAMPLES
        strongroom log verify /var/log/strongroom --public-key log.pub
        strongroom log verify copy --public-key log.pub --copied-at 2026-11-24T08:00:00Z
      """)
  @Argument(help: "Folder of the log.", completion: .directory) var folder: String
  @OptionGroup var keys: LogKeyOptions
  @Option(name: .customLong("copied-at"), help: "When the folder was copied, if it was: a time in UTC. Now, if not.")
  var copiedAt: String?
  @OptionGroup var format: JSONOption

  func run() async throws {
    let now = try copiedAt.map { text in
      guard let time = Timestamp(rfc3339: text) else {
        throw KMSError(
          .invalidInput, "--copied-at '\(text.prefix(40))' is no time", advice: "Write 2026-11-24T08:00:00Z.")
      }
      return time
    }
    let result = try LogVerifier(directory: FilePath(folder), keys: keys.keys(), now: now ?? .now()).verify()
    if format.json { Terminal.print(result.json) } else { printText(result) }
    if !result.isSound {
      Terminal.fail(
        "the access log is not as it was written: \(result.findingCount) findings. Compare with a copy, and ask who had access.",
        status: .dataDamaged)
    }
  }

  private func printText(_ result: LogVerification) {
    for finding in result.findings { Terminal.print(Terminal.styled(Terminal.visible("\(finding)"), .bad)) }
    if result.findingCount > result.findings.count {
      Terminal.print("… and \(result.findingCount - result.findings.count) more")
    }
    var text = "\(result.records) records in \(result.files) files of \(result.logs) logs, "
    text += "\(result.signed) under \(result.checkpoints) good checkpoints"
    if result.removed > 0 { text += "; \(result.removed) files were deleted after their time" }
    if result.crashed > 0 { text += "; \(result.crashed) closed by another after a crash" }
    if result.open > 0 { text += "; \(result.open) still written" }
    Terminal.print(text)
    if result.isSound { Terminal.print(Terminal.styled("sound: the log is as it was written", .good)) }
  }
}

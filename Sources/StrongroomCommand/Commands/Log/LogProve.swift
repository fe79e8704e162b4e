import ArgumentParser
import DurableFiles
import Strongroom
import SystemPackage

struct LogProve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prove", abstract: "Print a proof that one record is in the log.",
    discussion: """
      Whoever has the public key can check it without the rest of the log:
      'strongroom log check', or any tool for C2SP tlog-proof.

      EXAMPLES
        strongroom log prove 4711 > record.proof
        strongroom log check record.proof --public-key log.pub
      """)
  @Argument(help: "The record's number in its log (sequence).") var sequence: UInt64
  @Option(name: .long, help: "Which log, where several have such a record.") var log: String?
  @Option(name: .long, help: "Folder of the log; the configured one when not given.", completion: .directory)
  var folder: String?
  @OptionGroup var suite: SuiteOptions

  func run() async throws {
    let directory = try folder.map { FilePath($0) } ?? suite.load().accessLog.directory
    let proof = try LogProof.make(of: sequence, log: log, in: directory)
    Terminal.print(String(proof.description.dropLast()))  // it ends with a newline of its own
  }
}

struct LogCheck: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Check a proof of one record, and print the record.",
    discussion: """
      EXAMPLES
        strongroom log check record.proof --public-key log.pub
      """)
  @Argument(help: "What 'strongroom log prove' printed; - for standard input.", completion: .file()) var proof: String
  @OptionGroup var keys: LogKeyOptions

  func run() async throws {
    let bytes =
      proof == "-"
      ? try readAll(.standardInput, limit: 1 << 20, name: "standard input")
      : try readFile(FilePath(proof), limit: 1 << 20)
    let proof = try LogProof(parsing: String(decoding: bytes, as: UTF8.self))
    guard let (log, size) = proof.verified(by: try keys.keys()) else {
      throw KMSError(
        .doesNotOpen, "the proof does not hold: the record is not in a log that this key signed",
        advice: "Take the proof and the public key from who made them.")
    }
    Terminal.print(String(decoding: proof.record, as: UTF8.self))
    Terminal.note("record \(proof.index + 1) of the log \(log), which had \(size) records when it was signed")
  }
}

import ArgumentParser
import KMSCore

@main
struct StrongroomCommand: AsyncParsableCommand {
  // Every command names itself: to find the names of the types takes longer than anything else at start.
  static let configuration = CommandConfiguration(
    commandName: "strongroom",
    abstract: "Keys in a hardware security module, data encrypted under them, every use logged.",
    discussion: """
      EXAMPLES
        strongroom init                           a configuration, a first key
        strongroom encrypt report.pdf -o report.pdf.sealed
        strongroom decrypt report.pdf.sealed -o report.pdf
        strongroom key rotate default --reason planned
        strongroom log show --since 1h

      The configuration is the first of: --config, $STRONGROOM_CONFIG,
      ./strongroom.yaml, ~/.config/strongroom/strongroom.yaml, built-in defaults.

      EXIT CODES
        0 done               3 configuration          6 not found
        1 failed             4 provider unavailable   7 data damaged or not ours
        2 usage              5 access denied or PIN   8 access log unavailable
      """,
    version: "0.1.0",
    subcommands: [
      Init.self, Doctor.self, Bench.self, Key.self, Encrypt.self, Decrypt.self, Inspect.self, RotateDue.self,
      Rewrap.self,
      Reencrypt.self,
      Migrate.self, CensusCommand.self, Recovery.self, Log.self, Report.self,
    ])

  /// Every error becomes one line on standard error and an exit code; nothing else is printed for it.
  static func main() async {
    Terminal.prepareProcess()
    do {
      var command = try parseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
      Terminal.finish()
    } catch let error as KMSError {
      Terminal.fail(error.description, status: ExitStatus(error.code))
    } catch is CancellationError {
      Terminal.fail("Interrupted.", status: .failed)
    } catch {
      // Usage errors, --help and --version: ArgumentParser knows their text.
      let isUsage = exitCode(for: error) != .success && !(error is ExitCode)
      if isUsage { Terminal.fail(UsageError.text(error), status: .usage) }
      exit(withError: error)
    }
  }
}

/// What the process ends with.
enum ExitStatus: Int32 {
  case done = 0
  case failed, usage, configuration, providerUnavailable, accessDenied, notFound, dataDamaged, accessLogUnavailable

  init(_ code: KMSError.Code) {
    self =
      switch code {
      case .configurationInvalid, .encryptionDisabled: .configuration
      case .invalidInput: .usage
      case .providerUnavailable, .deadlineExceeded, .closed, .keyStoreDamaged: .providerUnavailable
      case .accessDenied, .pinLocked, .secretUnavailable, .keyStoreExposed: .accessDenied
      case .keyNotFound, .fileNotFound: .notFound
      case .malformedEnvelope, .notOurs, .doesNotOpen: .dataDamaged
      case .accessLogUnavailable: .accessLogUnavailable
      default: .failed
      }
  }
}

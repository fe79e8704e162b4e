import ArgumentParser
import Glibc
import Strongroom
import SystemPackage

/// What every command that uses keys takes.
struct SuiteOptions: ParsableArguments {
  @Option(name: .long, help: ArgumentHelp("Configuration file.", valueName: "file"), completion: .file())
  var config: String?

  @Option(name: .long, help: "Provider that makes new key versions, instead of the configured one.")
  var provider: String?

  @Option(name: .long, help: "On whose behalf, for the access log. The unix user when not given.")
  var principal: String?

  func load() throws -> SuiteConfiguration {
    let configuration = try SuiteConfiguration.load(file: config.map { FilePath($0) })
    return try provider.map { try configuration.with(provider: $0) } ?? configuration
  }

  /// Runs `body` with a manager, closed afterwards, in the principal's name.
  func withManager<Result>(_ body: (DataAtRestManager) async throws -> Result) async throws -> Result {
    let manager = try DataAtRestManager.open(load(), attended: true)
    return try await withPrincipal(principal ?? Self.unixUser) {
      do {
        let result = try await body(manager)
        await manager.close()
        return result
      } catch {
        await manager.close()
        throw error
      }
    }
  }

  static var unixUser: String {
    guard let entry = unsafe getpwuid(getuid()) else { return "uid-\(getuid())" }  // libc's own entry, read at once
    return unsafe String(cString: entry.pointee.pw_name)  // libc's own, read at once
  }
}

/// What the data is, as pairs that decryption must give again.
struct ContextOptions: ParsableArguments {
  @Option(
    name: .long,
    help: ArgumentHelp(
      "Encryption context; may be given more than once. Decryption needs the same pairs.", valueName: "name=value"))
  var context: [String] = []

  func value() throws -> EncryptionContext { try EncryptionContext(pairs()) }

  func pairs() throws -> [(name: String, value: String)] {
    try context.map { pair in
      guard let equals = pair.firstIndex(of: "=") else {
        throw KMSError(.invalidInput, "--context '\(pair.prefix(60))' has no '='", advice: "Write it as name=value.")
      }
      return (String(pair[..<equals]), String(pair[pair.index(after: equals)...]))
    }
  }
}

/// For commands that print data.
struct JSONOption: ParsableArguments {
  @Flag(name: .long, help: "Print JSON.")
  var json = false
}

extension FileEndpoint {
  /// `-` is standard input or output.
  static func input(_ text: String) -> FileEndpoint {
    text == "-" ? .descriptor(.standardInput) : .path(FilePath(text))
  }

  static func output(_ text: String, force: Bool) throws -> FileEndpoint {
    guard text == "-" else { return .path(FilePath(text), replacing: force) }
    guard !Terminal.outputIsTerminal || force else {
      throw KMSError(
        .invalidInput, "binary data does not belong on a terminal", advice: "Redirect it, or name a file with -o.")
    }
    return .descriptor(.standardOutput)
  }
}

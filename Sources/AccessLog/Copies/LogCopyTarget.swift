internal import KMSCore

/// Where copies of the log's lines go, beside its files.
public enum LogCopyTarget: Sendable, Hashable {
  /// This process' standard output.
  case standardOutput
  /// A local syslog socket, one message a line (RFC 5424).
  case syslog(socket: String)
  /// Standard input of a command, which `/bin/sh` runs; started again when it ends.
  case command(String)

  /// Reads `stdout`, `syslog`, `syslog:PATH` or `command:COMMAND`.
  ///
  /// - Throws: ``KMSError/Code/configurationInvalid``.
  public init(parsing text: String) throws {
    let (kind, rest) =
      text.firstIndex(of: ":").map { (text[..<$0], String(text[text.index(after: $0)...])) } ?? (text[...], "")
    switch (kind, rest) {
    case ("stdout", ""): self = .standardOutput
    case ("syslog", _): self = .syslog(socket: rest.isEmpty ? "/dev/log" : rest)
    case ("command", let command) where !command.isEmpty: self = .command(command)
    default:
      throw KMSError(
        .configurationInvalid, "access-log.copies: '\(text.prefix(60))' is no place for copies",
        advice: "Allowed are stdout, syslog, syslog:PATH and command:COMMAND.")
    }
  }

  /// For messages.
  var name: String {
    switch self {
    case .standardOutput: "standard output"
    case .syslog(let socket): "syslog at \(socket)"
    case .command(let command): "the command '\(command.prefix(60))'"
    }
  }
}

import ArgumentParser

/// What is told to a person whose arguments are none: which is not understood, what may be meant, and where help is.
enum UsageError {
  static func text(_ error: any Error) -> String {
    // ArgumentParser's last line: See 'strongroom log --help' for more information.
    let help = StrongroomCommand.fullMessage(for: error).split(whereSeparator: \.isNewline).last {
      $0.contains("See '")
    }
    let path = help?.split(separator: "'").dropFirst().first ?? "strongroom --help"
    let message = StrongroomCommand.message(for: error).split(whereSeparator: \.isNewline).joined(separator: " ")
    let text = unknownCommand(path.split(separator: " ").dropLast()) ?? message
    return "\(text.hasSuffix("?") || text.hasSuffix(".") ? text : text + ".") See '\(path)'."
  }

  /// Nil where the command has no subcommands, or something else is wrong.
  private static func unknownCommand(_ path: ArraySlice<Substring>) -> String? {
    var subcommands = StrongroomCommand.configuration.subcommands
    var words = CommandLine.arguments.dropFirst()
    for word in path.dropFirst() {
      subcommands = subcommands.first { $0._commandName == word }?.configuration.subcommands ?? []
      words = words.drop { $0 != word }.dropFirst()
    }
    // What comes after an option may be its value.
    guard !subcommands.isEmpty, let unknown = words.first, !unknown.hasPrefix("-"),
      !subcommands.contains(where: { $0._commandName == unknown })
    else { return nil }
    // One letter too many, too few or another.
    let meant = subcommands.map { (name: $0._commandName, changes: $0._commandName.difference(from: unknown).count) }
      .filter { $0.changes <= 2 }.min { $0.changes < $1.changes }
    let text = "There is no command '\((path + [Substring(unknown)]).joined(separator: " "))'."
    return meant.map { "\(text) Did you mean '\($0.name)'?" } ?? text
  }
}

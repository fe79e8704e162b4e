import Glibc
import KMSCore
import SystemPackage

/// What a person sees: colours and progress on a terminal only.
enum Terminal {
  static let outputIsTerminal = isatty(STDOUT_FILENO) == 1
  static let errorsAreTerminal = isatty(STDERR_FILENO) == 1

  /// No core dumps, as memory holds plaintext; and a closed pipe or a dead HSM client is an error, not a signal.
  static func prepareProcess() {
    var none = rlimit(rlim_cur: 0, rlim_max: 0)
    unsafe setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)  // `none` outlives the call
    signal(SIGPIPE, SIG_IGN)
  }

  private static func mayColour(_ isTerminal: Bool) -> Bool {
    unsafe isTerminal && getenv("NO_COLOR") == nil  // only compared
  }

  enum Style: String {
    case good = "32"
    case bad = "31"
    case warning = "33"
    case dim = "2"
    case bold = "1"
  }

  static func styled(_ text: String, _ style: Style) -> String {
    mayColour(outputIsTerminal) ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
  }

  static func print(_ text: String) { write(text + "\n", to: .standardOutput) }

  static func note(_ text: String) { write(text + "\n", to: .standardError) }

  static func fail(_ text: String, status: ExitStatus) -> Never {
    let prefix = mayColour(errorsAreTerminal) ? "\u{1B}[31mstrongroom:\u{1B}[0m " : "strongroom: "
    note(prefix + text)
    exit(status.rawValue)
  }

  private static func write(_ text: String, to descriptor: FileDescriptor) {
    do { try descriptor.writeAll(text.utf8) } catch let error {
      // `strongroom … | head` closes the pipe: end quietly, like any filter.
      exit((error as? Errno) == .brokenPipe ? 0 : ExitStatus.failed.rawValue)
    }
  }

  /// A table with columns as wide as they must be.
  static func table(_ rows: [[String]], header: [String]) -> String {
    let all = [header] + rows
    let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    return all.enumerated().map { number, row in
      let line = row.enumerated().map { column, cell in
        column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
      }.joined(separator: "  ")
      return number == 0 ? styled(line, .bold) : line
    }.joined(separator: "\n")
  }
}

import Glibc
import KMSCore
import Synchronization
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

  // What standard output failed with. Nothing is printed after a gap.
  private static let failure = Mutex<Errno?>(nil)

  /// Whether it can be printed or not: the command's work goes on, and its exit code stays its own.
  static func print(_ text: String) {
    failure.withLock { failure in
      guard failure == nil else { return }
      do { try FileDescriptor.standardOutput.writeAll((text + "\n").utf8) } catch {
        failure = (error as? Errno) ?? .ioError
      }
    }
  }

  /// For a command that does nothing but print: it ends where that has no use any more.
  static func printOrEnd(_ text: String) {
    print(text)
    if failure.withLock({ $0 != nil }) {
      finish()
      exit(ExitStatus.done.rawValue)
    }
  }

  /// After the command's work. `strongroom … | head` closes the pipe, and is quiet; a disk that is full is told.
  static func finish() {
    guard let error = failure.withLock({ $0 }), error != .brokenPipe else { return }
    fail("Standard output took not all that was printed (\(error)). Look whether its disk is full.", status: .failed)
  }

  static func note(_ text: String) {
    _ = try? FileDescriptor.standardError.writeAll((text + "\n").utf8)  // nobody else could be told
  }

  static func fail(_ text: String, status: ExitStatus) -> Never {
    let prefix = mayColour(errorsAreTerminal) ? "\u{1B}[31mstrongroom:\u{1B}[0m " : "strongroom: "
    note(prefix + visible(text, besides: "\n"))
    exit(status.rawValue)
  }

  /// A text of somebody else's, without what would move the cursor, begin a line or turn the writing's direction.
  static func visible(_ text: String, besides allowed: Unicode.Scalar? = nil) -> String {
    func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator: scalar == allowed
      default: true
      }
    }
    guard !text.unicodeScalars.allSatisfy(isHarmless) else { return text }
    return text.unicodeScalars.map { isHarmless($0) ? String($0) : $0.escaped(asASCII: true) }.joined()
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

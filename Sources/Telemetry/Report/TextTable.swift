import AccessLog
import KMSCore

/// Lines of at most 80 columns for a terminal.
enum TextTable {
  static let width = 80

  enum Cell {
    case left(String, Int)
    case right(String, Int)
    /// The last cell: up to the end of the line.
    case rest(String)
  }

  /// Cells two spaces apart, after two spaces.
  static func row(_ cells: Cell...) -> String {
    var line = ""
    for cell in cells {
      line += "  "
      switch cell {
      case .left(let text, let width):
        let text = fitted(text, width)
        line += text + spaces(width - text.count)
      case .right(let text, let width):
        let text = fitted(text, width)
        line += spaces(width - text.count) + text
      case .rest(let text): line += fitted(text, width - line.count)
      }
    }
    while line.last == " " { line.removeLast() }
    return line
  }

  /// At most `width` characters, an ellipsis for what is cut off; nothing in it moves a terminal's cursor.
  static func fitted(_ text: String, _ width: Int) -> String {
    let shown = printable(text.prefix(width + 1))
    return shown.count <= width ? shown : shown.prefix(max(0, width - 1)) + "…"
  }

  /// Nothing in it moves a terminal's cursor.
  static func printable(_ text: some StringProtocol) -> String {
    String(text.map { $0.unicodeScalars.contains(where: isControl) ? "?" : $0 })
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }

  /// A sentence over as many lines as it needs.
  static func wrapped(_ text: String, indent: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in printable(text).split(separator: " ") {
      if !line.isEmpty, indent + line.count + 1 + word.count > width {
        lines.append(spaces(indent) + line)
        line = ""
      }
      line += (line.isEmpty ? "" : " ") + fitted(String(word), width - indent)
    }
    return line.isEmpty ? lines : lines + [spaces(indent) + line]
  }

  private static func spaces(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }

  /// `2026-11-24 08:36:00Z`
  static func time(_ timestamp: Timestamp) -> String {
    let text = timestamp.description
    return text.prefix(10) + " " + text.dropFirst(11).prefix(8) + "Z"
  }

  /// `820 ns`, `14.2 µs`, `3.10 ms`, `247.5 ms`, `2.000 s`
  static func latency(_ nanoseconds: UInt64) -> String {
    let value = Int64(min(nanoseconds, UInt64(Int64.max)))
    return switch value {
    case ..<1000: "\(value) ns"
    case ..<1_000_000: fixed(value / 100, decimals: 1) + " µs"
    case ..<100_000_000: fixed(value / 10_000, decimals: 2) + " ms"
    case ..<1_000_000_000: fixed(value / 100_000, decimals: 1) + " ms"
    default: fixed(value / 1_000_000, decimals: 3) + " s"
    }
  }

  /// `35 s`, `12 min`, `5 h 2 min`, `40 d 3 h`
  static func age(_ duration: Duration) -> String {
    let seconds = max(0, duration.components.seconds)
    return switch seconds {
    case ..<60: "\(seconds) s"
    case ..<3600: "\(seconds / 60) min"
    case ..<86_400: "\(seconds / 3600) h" + (seconds / 60 % 60 == 0 ? "" : " \(seconds / 60 % 60) min")
    default: "\(seconds / 86_400) d" + (seconds / 3600 % 24 == 0 ? "" : " \(seconds / 3600 % 24) h")
    }
  }
}

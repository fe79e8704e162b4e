import Foundation
import Testing

/// One runbook of docs/operations.md, as a script: its commands and configuration as they stand there, and between
/// them what the reader does not see.
///
/// - a `bash` block: run.
/// - a `yaml` block: written to the file `$BLOCK`, for the comment after it to put where it belongs.
/// - `<!-- test: … -->`: run. It stands for what hands do (losing an HSM), and checks what the text says.
/// - `<!-- test go back: … -->`: the next block is run on a copy of everything, then this; then all is as before.
/// - a `text` block: lines of the log, in their order; `…` stands for anything.
struct Runbook: CustomTestStringConvertible {
  enum Step {
    case commands(String, line: Int)
    case configuration(String)
    case goBack(String, check: String, line: Int)
  }

  let title: String
  private(set) var steps: [Step] = []
  private(set) var log: [String] = []

  var testDescription: String { title }

  static let file = Workspace.fixtures.appending(path: "../docs/operations.md").standardized

  /// The section's steps. The lines are those after its heading.
  init(title: String, lines: [String], firstLine: Int) {
    self.title = title
    var check: String?
    var index = 0
    while index < lines.count {
      let start = index
      let line = lines[index].trimmingCharacters(in: .whitespaces)
      index += 1
      if line.hasPrefix("```"), line.count > 3 {
        let indent = lines[start].prefix { $0 == " " }.count
        var block: [String] = []
        while index < lines.count, lines[index].trimmingCharacters(in: .whitespaces) != "```" {
          block.append(String(lines[index].dropFirst(min(indent, lines[index].prefix { $0 == " " }.count))))
          index += 1
        }
        index += 1
        let text = block.joined(separator: "\n")
        switch line.dropFirst(3) {
        case "bash":
          steps.append(
            check.map { .goBack(text, check: $0, line: firstLine + start) }
              ?? .commands(text, line: firstLine + start))
          check = nil
        case "yaml": steps.append(.configuration(text))
        default: log += block
        }
      } else if line.hasPrefix("<!-- test") {
        var comment = [line]
        while !comment[comment.count - 1].hasSuffix("-->"), index < lines.count {
          comment.append(lines[index].trimmingCharacters(in: .whitespaces))
          index += 1
        }
        let text = comment.joined(separator: "\n").dropLast(3)
        let body = String(text.drop { $0 != ":" }.dropFirst())
        if text.hasPrefix("<!-- test go back:") {
          check = body
        } else {
          steps.append(.commands(body, line: firstLine + start))
        }
      }
    }
  }

  /// All sections of the document by their headings.
  static func sections() throws -> [Runbook] {
    let lines = try String(contentsOf: file, encoding: .utf8).components(separatedBy: "\n")
    let starts = lines.indices.filter { lines[$0].hasPrefix("## ") } + [lines.count]
    return zip(starts, starts.dropFirst()).map { start, end in
      Runbook(
        title: String(lines[start].dropFirst(3)), lines: Array(lines[(start + 1)..<end]), firstLine: start + 2)
    }
  }

  static func all() throws -> [Runbook] { try sections().filter { $0.title.hasPrefix("Runbook: ") } }

  /// The steps as bash. Every line that fails ends it, with its place in the document.
  var script: String {
    steps.map { step in
      switch step {
      case .commands(let text, let line): "at='operations.md:\(line)'\n\(text)"
      case .configuration(let text): "cat >\"$BLOCK\" <<'END-OF-BLOCK'\n\(text)\nEND-OF-BLOCK"
      case .goBack(let text, let check, let line):
        "at='operations.md:\(line)'\nsave\n(\n\(text)\n\(check)\n)\nrestore"
      }
    }.joined(separator: "\n")
  }
}

import Foundation
import Testing

/// A session with the command, as a person would note it down (Fixtures/transcripts):
///
/// - `# …`: said to the reader.
/// - `needs: softhsm`, `needs: root`, `needs: PROGRAM`: skipped where that is not there.
/// - `$ line`: run by bash in an empty folder. A line with `strongroom …` is checked for more: see
///   `TranscriptTests`.
/// - `> text`: a line of its output; `*` stands for anything. Lines between those that are noted are free.
/// - `! text`: its only line on standard error.
/// - `exit N`: its exit code, 0 when not noted.
struct Transcript: CustomTestStringConvertible {
  struct Step {
    let line: String
    var output: [String] = []
    var errors: [String] = []
    var exitCode: Int32 = 0
  }

  let name: String
  private(set) var needs: Set<String> = []
  private(set) var steps: [Step] = []

  var testDescription: String { name }

  init(_ file: URL) throws {
    name = file.deletingPathExtension().lastPathComponent
    for (number, line) in try String(contentsOf: file, encoding: .utf8).lines.enumerated() {
      let word = line.prefix { $0 != " " }
      let rest = String(line.dropFirst(word.count + 1))
      switch word {
      case "#": break
      case "needs:": needs.insert(rest)
      case "$": steps.append(Step(line: rest))
      case ">" where !steps.isEmpty: steps[steps.count - 1].output.append(rest)
      case "!" where !steps.isEmpty: steps[steps.count - 1].errors.append(rest)
      case "exit" where !steps.isEmpty && Int32(rest) != nil: steps[steps.count - 1].exitCode = Int32(rest) ?? 0
      default: throw Malformed(place: "\(file.lastPathComponent):\(number + 1)", line: line)
      }
    }
  }

  struct Malformed: Error {
    let place: String
    let line: String
  }

  static func all(_ folder: String) throws -> [Transcript] {
    let folder = Workspace.fixtures.appending(path: "transcripts/\(folder)")
    return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
      .sorted { $0.path < $1.path }.map { try Transcript($0) }
  }
}

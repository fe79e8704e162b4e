import Foundation
import Testing

/// What the README shows is what happens.
struct ReadmeTests {
  private static let text = try? String(
    contentsOf: Workspace.fixtures.appending(path: "../README.md").standardized, encoding: .utf8)

  /// The code blocks of one language under a heading.
  private static func blocks(_ language: String, under heading: String) throws -> [String] {
    let sections = try #require(text).components(separatedBy: "\n## ")
    let section = try #require(sections.first { $0.hasPrefix(heading) })
    return section.components(separatedBy: "```\(language)\n").dropFirst().compactMap {
      $0.components(separatedBy: "```").first
    }
  }

  /// The block's commands, but for those that build or install.
  private static func commands(under heading: String) throws -> String {
    let preparations = ["swift build", "export PATH=", "mkdir try", "sudo apt-get"]
    let lines = try #require(blocks("sh", under: heading).first).lines
    return (["set -e"] + lines.filter { line in !preparations.contains { line.hasPrefix($0) } }).joined(separator: "\n")
  }

  @Test("five minutes with a key store, and the same with a token")
  func fiveMinutes() async throws {
    if Workspace.module == nil { try Test.cancel("SoftHSM is not installed") }
    let workspace = try Workspace()
    defer { workspace.remove() }
    let first = try await workspace.run(Self.commands(under: "Five minutes"))
    #expect(first.exitCode == 0 && first.errors.isEmpty, "\(first.output)\(first.errors)")
    #expect(first.output.lines.last == "same")
    let token = try await workspace.run(Self.commands(under: "The same with a token"))
    #expect(token.exitCode == 0 && token.errors.isEmpty, "\(token.output)\(token.errors)")
    #expect(try await workspace.run("cmp note.txt note.again").exitCode == 0)
  }

  @Test("everyday commands")
  func everyday() async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let prepared = try await workspace.run(
      """
      strongroom init && cp "$FIXTURES/people.csv" . && mkdir backups data && cp people.csv data
      strongroom encrypt people.csv -o backups/people.sealed
      """)
    #expect(prepared.exitCode == 0, "\(prepared.errors)")
    let commands = try Self.commands(under: "Everyday").replacing("/etc/bash_completion.d/strongroom", with: "script")
    let outcome = try await workspace.run(commands)
    #expect(outcome.exitCode == 0 && outcome.errors.isEmpty, "\(outcome.output)\(outcome.errors)")
  }

  @Test(
    "configurations in the documentation load", arguments: ["README.md", "docs/configuration.md", "docs/recovery.md"])
  func configurations(_ document: String) async throws {
    let text = try String(
      contentsOf: Workspace.fixtures.appending(path: "../\(document)").standardized, encoding: .utf8)
    let blocks = text.components(separatedBy: "```yaml\n").dropFirst().compactMap {
      $0.components(separatedBy: "```").first
    }.filter { $0.contains("providers:") }
    #expect(!blocks.isEmpty)
    let workspace = try Workspace()
    defer { workspace.remove() }
    for block in blocks {
      try Data(block.utf8).write(to: workspace.folder.appending(path: "strongroom.yaml"))
      let outcome = try await workspace.run("strongroom log show")
      #expect(outcome.exitCode == 0, "\(outcome.errors)\n\(block)")
    }
  }

  @Test("the program in the README is the one that is built, and it runs")
  func quickStart() async throws {
    let source = Workspace.fixtures.appending(path: "../Tests/QuickStart/QuickStart.swift").standardized
    #expect(try Self.blocks("swift", under: "In an application").first == String(contentsOf: source, encoding: .utf8))
    let workspace = try Workspace()
    defer { workspace.remove() }
    let outcome = try await workspace.run("strongroom init >/dev/null && QuickStart")
    #expect(outcome.exitCode == 0 && outcome.output.matches("* bytes sealed; opened: true\n"), "\(outcome.errors)")
  }
}

import Foundation
import Testing

/// What the command says of itself.
struct HelpTests {
  static let commands = [
    "", "init", "doctor", "bench", "key", "key create", "key adopt", "key import", "key list", "key show", "key rotate",
    "key activate", "key deactivate",
    "key suspend", "key compromise", "key destroy", "encrypt", "decrypt", "inspect", "rotate", "rewrap", "reencrypt",
    "migrate",
    "census", "recovery", "recovery create", "recovery drill", "recovery audit", "log", "log show",
    "log follow", "log export", "log verify", "log prove", "log check", "log key", "report",
  ]
  /// Those that explain themselves by their subcommands or by one argument.
  static let withoutExamples: Set = [
    "key", "key activate", "key deactivate", "key suspend", "key compromise", "recovery", "log",
  ]

  @Test("--help prints help, with examples, and nothing else", arguments: commands)
  func help(_ command: String) async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let outcome = try await workspace.run("strongroom \(command) --help")
    #expect(outcome.exitCode == 0)
    #expect(outcome.errors.isEmpty)
    #expect(outcome.output.contains("USAGE: strongroom \(command)"))
    #expect(outcome.output.contains("EXAMPLE") != Self.withoutExamples.contains(command))
    #expect(!outcome.output.contains("\u{1B}"))
    #expect(try workspace.snapshot().isEmpty)
  }

  @Test("every subcommand is among them")
  func complete() async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    for parent in ["", "key", "recovery", "log"] {
      let help = try await workspace.run("strongroom \(parent) --help").output
      let listed = help.components(separatedBy: "SUBCOMMANDS:\n").last?.lines.compactMap { line in
        line.matches("  *") && line.dropFirst(2).first?.isLetter == true
          ? line.split(separator: " ").first.map { (parent.isEmpty ? "" : parent + " ") + $0 } : nil
      }
      let names = try #require(listed).filter { !$0.hasSuffix("See") }
      #expect(!names.isEmpty)
      #expect(Set(names).isSubset(of: Self.commands))
    }
  }

  @Test(
    "arguments that are none: what is wrong, what may be meant, and where help is",
    arguments: [
      ("encrpt", "There is no command 'strongroom encrpt'. Did you mean 'encrypt'? See 'strongroom --help'."),
      (
        "encrpt note.txt -o note.sealed --context file=note.txt",
        "There is no command 'strongroom encrpt'. Did you mean 'encrypt'? See 'strongroom --help'."
      ),
      ("--frobnicate", "Unknown option '--frobnicate'. See 'strongroom --help'."),
      ("--config hsm.yaml key list", "Unknown option '--config'. See 'strongroom --help'."),
      ("log prive", "There is no command 'strongroom log prive'. Did you mean 'prove'? See 'strongroom log --help'."),
      ("key frobnicate", "There is no command 'strongroom key frobnicate'. See 'strongroom key --help'."),
      ("log show --outcom x", "Unknown option '--outcom'. Did you mean '--outcome'? See 'strongroom log show --help'."),
      ("key rotate", "Missing expected argument '<name>'. See 'strongroom key rotate --help'."),
      ("inspect a b", "Unexpected argument 'b'. See 'strongroom inspect --help'."),
    ])
  func usageErrors(_ arguments: String, _ expected: String) async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let outcome = try await workspace.run("strongroom \(arguments)")
    #expect(outcome.exitCode == 2)
    #expect(outcome.output.isEmpty)
    #expect(outcome.errors == "strongroom: \(expected)\n")
  }

  @Test("completion scripts are scripts", arguments: ["bash", "zsh", "fish"])
  func completion(_ shell: String) async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let outcome = try await workspace.run("strongroom --generate-completion-script \(shell) >script")
    #expect(outcome.exitCode == 0 && outcome.errors.isEmpty)
    let check = try await workspace.run("grep -c rewrap script && { [ \(shell) != bash ] || bash -n script; }")
    #expect(check.exitCode == 0, "\(check.errors)")
  }

  @Test("exit codes are documented")
  func exitCodes() async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let help = try await workspace.run("strongroom --help; strongroom --version").output
    for code in ["0 done", "1 failed", "2 usage", "3 configuration", "8 access log unavailable"] {
      #expect(help.contains(code))
    }
    #expect(help.lines.last?.first?.isNumber == true)
  }
}

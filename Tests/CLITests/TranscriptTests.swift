import Foundation
import Testing

/// Runs the sessions in Fixtures/transcripts with the real command.
///
/// Besides what a transcript notes, every line with `strongroom …` must keep the command's promises: no secret in what
/// it prints, no colours, as this is no terminal; and when it fails: one line on standard error, nothing on
/// standard output, every file as it was, no temporary file left.
@Suite(.timeLimit(.minutes(10)))
struct TranscriptTests {
  @Test("sessions", arguments: try Transcript.all("sessions"))
  func session(_ transcript: Transcript) async throws { try await play(transcript) }

  @Test("bad input", arguments: try Transcript.all("bad-input"))
  func badInput(_ transcript: Transcript) async throws { try await play(transcript) }

  private func play(_ transcript: Transcript) async throws {
    if transcript.needs.contains("softhsm"), Workspace.module == nil { try Test.cancel("SoftHSM is not installed") }
    for need in transcript.needs.subtracting(["softhsm", "root"]) {
      let isThere = ["/usr/bin/", "/usr/local/bin/"].contains {
        FileManager.default.isExecutableFile(atPath: $0 + need)
      }
      if !isThere { try Test.cancel("\(need) is not installed") }
    }
    if transcript.needs.contains("root"), getuid() != 0 { try Test.cancel("only root may mount a file system") }
    let workspace = try Workspace()
    defer { workspace.remove() }
    for step in transcript.steps {
      let before = try workspace.snapshot()
      let outcome = try await workspace.run(step.line)
      check(step, outcome, in: transcript)
      guard step.line.contains("strongroom ") else { continue }
      checkPromises(step, outcome, workspace)
      guard step.exitCode != 0 else { continue }
      let after = try workspace.snapshot()
      let changed = Set(before.keys).union(after.keys).filter { before[$0] != after[$0] }
      #expect(changed.isEmpty, "$ \(step.line)\nchanged \(changed.sorted())")
    }
  }

  private func check(_ step: Transcript.Step, _ outcome: Outcome, in transcript: Transcript) {
    let session = "\(transcript.name): $ \(step.line)\n\(outcome.output.prefix(2000))\(outcome.errors.prefix(2000))"
    #expect(outcome.exitCode == step.exitCode, "\(session)")
    var rest = outcome.output.lines[...]
    for expected in step.output {
      let found = rest.firstIndex { $0.matches(expected) }
      #expect(found != nil, "no line '\(expected)' in\n\(session)")
      if let found { rest = rest[(found + 1)...] }
    }
    let errors = outcome.errors.lines
    #expect(
      errors.count == step.errors.count && zip(errors, step.errors).allSatisfy { $0.matches($1) }, "\(session)")
  }

  private func checkPromises(_ step: Transcript.Step, _ outcome: Outcome, _ workspace: Workspace) {
    let isPlaintextAskedFor = step.line.contains("decrypt") && step.line.contains("-o -")
    for secret in workspace.secrets {
      let isPrinted = outcome.errors.contains(secret) || (!isPlaintextAskedFor && outcome.output.contains(secret))
      #expect(!isPrinted, "a secret was printed by $ \(step.line)")
    }
    let escape = "\u{1B}"
    #expect(!outcome.output.contains(escape) && !outcome.errors.contains(escape), "colours: $ \(step.line)")
    if step.exitCode != 0 {
      // The doctor's findings are its output, unless there is no token to examine.
      let lineCount = step.line.contains("doctor") && !step.line.contains("--module") ? 0 : 1
      #expect(outcome.errors.lines.count == lineCount, "$ \(step.line)\n\(outcome.errors)")
      #expect(outcome.output.isEmpty || step.output.count > 0, "$ \(step.line)\n\(outcome.output)")
    }
  }
}

import Foundation
import Testing

/// SIGKILL in the middle of a big job: nothing under the output's name, nothing beside it, and inputs as they were.
struct KillTests {
  @Test("killed while it encrypts or decrypts", arguments: ["encrypt", "decrypt"])
  func killed(_ operation: String) async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let prepared = try await workspace.run(
      "strongroom init && head -c 64000000 /dev/zero >plain && strongroom encrypt plain -o sealed")
    #expect(prepared.exitCode == 0, "\(prepared.errors)")
    let input = operation == "encrypt" ? "plain" : "sealed"
    let before = try workspace.snapshot()
    // A pipe that gives the most part and then neither more nor its end: by then it was worked on, but for a buffer.
    let outcome = try await workspace.run(
      """
      mkfifo ../pipe
      (head -c 60000000 \(input); touch ../sent; exec sleep 60) >../pipe & feeder=$!
      strongroom \(operation) - -o output <../pipe & job=$!
      until [ -e ../sent ]; do kill -0 $job || exit 1; sleep 0.05; done
      kill -KILL $job; wait $job; echo "ended with $?"
      kill -KILL $feeder
      """)
    #expect(outcome.output == "ended with 137\n", "\(outcome.output)\(outcome.errors)")
    let isUnchanged = try workspace.snapshot() == before
    #expect(isUnchanged)
    let again = try await workspace.run("strongroom \(operation) \(input) -o output && ls -l output")
    #expect(again.exitCode == 0, "\(again.errors)")
  }
}

import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

@testable import AccessLog

/// A proof holds for somebody who has none of our code.
@Suite struct ProofTests {
  private static let script =
    URL(filePath: #filePath).appending(path: "../../../Scripts/check-proof.py").standardized.path

  @Test func aStrangerChecksARecordsProof() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = folder.appending("log")
      try await writeLog(log, test, events: 1500)
      let (proof, key) = (folder.appending("proof"), folder.appending("key"))
      try key.put(Array("\(test.key)\n".utf8))
      for sequence: UInt64 in [1, 2, 999, 1000, 1001, 1502] {
        let text = try LogProof.make(of: sequence, in: log).description
        try proof.put(Array(text.utf8))
        let held = try await runProcess("/usr/bin/python3", [Self.script, proof.string, key.string])
        #expect(held.status == 0 && held.output.contains(#""sequence":\#(sequence),"#), "\(held.error)")
      }
      let text = try LogProof.make(of: 700, in: log).description
      let other = try await TestSigner()
      try proof.put(Array(text.replacing("\nindex 699\n", with: "\nindex 698\n").utf8))
      // `python -O` leaves out assertions, and no check.
      for options in [[], ["-O"]] {
        #expect(
          try await runProcess("/usr/bin/python3", options + [Self.script, proof.string, key.string]).status == 1)
      }
      try proof.put(Array(text.utf8))
      try key.put(Array("\(other.key)\n".utf8))
      for options in [[], ["-O"]] {
        #expect(
          try await runProcess("/usr/bin/python3", options + [Self.script, proof.string, key.string]).status == 1)
      }
    }
  }
}

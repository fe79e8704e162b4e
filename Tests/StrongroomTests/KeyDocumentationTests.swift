import Foundation
import Strongroom
import Testing

/// docs/keys.md has the table that the code has.
struct KeyDocumentationTests {
  @Test("the documented states and transitions are those of KeyState")
  func table() throws {
    let file = URL(filePath: #filePath).appending(path: "../../../docs/keys.md").standardized
    let rows = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map { line in
      line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
    }
    for state in KeyState.allCases {
      let row = try #require(rows.first { $0.count == 4 && $0[0] == state.rawValue })
      #expect((row[1] == "yes") == state.wraps)
      #expect((row[2] != "no") == state.unwraps)
      #expect(row[3] == (state.successors.isEmpty ? "—" : state.successors.map(\.rawValue).joined(separator: ", ")))
    }
  }
}

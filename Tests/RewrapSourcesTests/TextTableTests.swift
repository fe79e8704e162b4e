import Foundation
import RewrapSources
import Strongroom
import SystemPackage
import Testing

/// Tables in text files: every byte but the values stays.
struct TextTableTests {
  /// A table in which `«name»` stands for a value.
  struct Sample: CustomTestStringConvertible, Sendable {
    let testDescription: String
    var format = TextTable.Format.csv
    let text: String
    var values: [String]
    /// Of records and values that cannot be read.
    var failures: [String] = []

    func text(_ value: ([UInt8]) -> [UInt8]) -> String {
      text.split(separator: "«", omittingEmptySubsequences: false).enumerated().map { index, part in
        guard index > 0, let end = part.firstIndex(of: "»") else { return String(part) }
        return base64(value(old(String(part[..<end])))) + part[part.index(after: end)...]
      }.joined()
    }
  }

  static let samples = [
    Sample(testDescription: "plain", text: "id,secret\n1,«a»\n2,«b»\n", values: ["a", "b"]),
    Sample(
      testDescription: "quotes around values and others",
      text: "id,\"secret\",\"a \"\"b\"\"\"\n\"1\",\"«a»\",\"x,\ny\"\n",
      values: ["a"]),
    Sample(testDescription: "CRLF", text: "id,secret\r\n1,«a»\r\n2,\"«b»\"\r\n", values: ["a", "b"]),
    Sample(testDescription: "CRLF and LF", text: "id,secret\r\n1,«a»\n2,«b»\r\n3,«c»", values: ["a", "b", "c"]),
    Sample(testDescription: "no newline at the end", text: "secret,id\n«a»,1", values: ["a"]),
    Sample(testDescription: "no newline after an empty last field", text: "secret,id\n«a»,", values: ["a"]),
    Sample(testDescription: "blank lines", text: "id,secret\n\n1,«a»\n\n\r\n2,«b»\n\n", values: ["a", "b"]),
    Sample(testDescription: "empty values", text: "id,secret\n1,\n2,\"\"\n3,«a»\n", values: ["a"]),
    Sample(testDescription: "only a header", text: "id,secret\n", values: []),
    Sample(testDescription: "a header without newline", text: "id,secret", values: []),
    Sample(testDescription: "a lone CR is text", text: "id,secret,note\n1,«a»,x\ry\n", values: ["a"]),
    Sample(testDescription: "NUL and bytes beyond ASCII", text: "id,secret,ö\n\0é,«a»,\u{FEFF}\n", values: ["a"]),
    Sample(
      testDescription: "a quote inside a field opens nothing",
      text: "id,secret,note\n1,«a»,5\" disk\n2,«b»,\n3,«c»,x\"\n",
      values: ["a", "b", "c"]),
    Sample(
      testDescription: "too few and too many columns", text: "id,secret\n1\n2,«a»\n3,«x»,more\n4,«b»\n",
      values: ["a", "b"], failures: ["row 2", "row 4"]),
    Sample(
      testDescription: "text after a closing quote", text: "id,secret\n1,\"«x»\"y\n2,«a»\n", values: ["a"],
      failures: ["row 2"]),
    Sample(
      testDescription: "a quote that is never closed takes the rest with it",
      text: "id,secret\n1,«a»\n2,\"«x»\n3,«y»\n",
      values: ["a"], failures: ["row 3"]),
    Sample(
      testDescription: "values that are no base64", text: "id,secret\n1,no!\n2,«a»\n3,\"a\"\"b\"\n4, «x»\n",
      values: ["a"], failures: ["row 2, secret", "row 4, secret", "row 5, secret"]),

    Sample(
      testDescription: "members in any order and spacing", format: .jsonl,
      text: "{\"id\":1,\"secret\":\"«a»\"}\n { \"secret\" :\t\"«b»\" , \"id\" : 2 } \r\n", values: ["a", "b"]),
    Sample(testDescription: "no newline at the end", format: .jsonl, text: "{\"secret\":\"«a»\"}", values: ["a"]),
    Sample(
      testDescription: "blank lines", format: .jsonl, text: "\n{\"secret\":\"«a»\"}\n \t\r\n\n{\"secret\":\"«b»\"}\n\n",
      values: ["a", "b"]),
    Sample(
      testDescription: "members of the same name deeper down stay", format: .jsonl,
      text: "{\"o\":{\"secret\":\"«x»\"},\"l\":[{\"secret\":\"«y»\"},[\"}\"]],\"secret\":\"«a»\"}\n", values: ["a"]),
    Sample(
      testDescription: "a member that is there twice", format: .jsonl,
      text: "{\"secret\":\"«a»\",\"secret\":\"«b»\"}\n", values: ["a", "b"]),
    Sample(
      testDescription: "braces, quotes and backslashes in other strings", format: .jsonl,
      text: #"{"note":"} \" \\","secret":"«a»","n":-1.5e3,"t":true,"z":"\u00e9\/"}"# + "\n", values: ["a"]),
    Sample(
      testDescription: "a name with escapes", format: .jsonl, text: #"{"se\u0063ret":"«a»"}"# + "\n", values: ["a"]),
    Sample(
      testDescription: "null, empty and missing values", format: .jsonl,
      text: "{\"secret\":null}\n{\"secret\":\"\"}\n{\"id\":3}\n{}\n{\"secret\":\"«a»\"}\n", values: ["a"]),
    Sample(
      testDescription: "values of another type are told", format: .jsonl,
      text: "{\"secret\":17}\n{\"secret\":[\"«x»\"]}\n{\"secret\":\"«a»\"}\n", values: ["a"],
      failures: ["line 1, secret", "line 2, secret"]),
    Sample(
      testDescription: "lines that are no object", format: .jsonl,
      text:
        "[\"«x»\"]\n{\"secret\":\"«a»\"}\n{\"secret\":\"«x»\"\n{\"secret\":\"«x»\"} x\nnull\n{\"secret\":\"«b»\"}\n",
      values: ["a", "b"], failures: ["line 1", "line 3", "line 4", "line 5"]),
    Sample(
      testDescription: "values with escapes that base64 has not", format: .jsonl,
      text: #"{"secret":"\u0041\n"}"# + "\n" + #"{"secret":"\x"}"# + "\n", values: [],
      failures: ["line 1, secret", "line 2, secret"]),
  ]

  @Test("every byte but the values stays", arguments: samples)
  func preserves(_ sample: Sample) async throws {
    try await withFolder { folder in
      let path = folder.appending("table")
      try path.write(sample.text { $0 })
      var unchanged = table(path, sample.format)
      let first = try await rewrite(&unchanged) { _ in nil }
      #expect(first.values == sample.values.map(old))
      #expect(first.failures == sample.failures.map { "\(path), \($0)" })
      #expect(try path.text == sample.text { $0 })

      // What cannot be read is as it was, whatever became of the others.
      let expected = sample.values.reduce(sample.text { $0 }) { text, name in
        text.replacingOccurrences(of: base64(old(name)), with: base64(new(old(name))))
      }
      var changed = table(path, sample.format)
      _ = try await rewrite(&changed, new)
      let text = try path.text
      // A nested or broken value of the same name would have been replaced in `expected`, so names differ.
      #expect(text == expected)
      #expect(try path.neighbours == ["table"])
    }
  }

  private func table(
    _ path: FilePath, _ format: TextTable.Format, _ columns: [String] = ["secret"], rowKey: String? = nil,
    isReadOnly: Bool = false
  ) -> TextTable {
    TextTable(path, format: format, columns: TableColumns(columns, rowKey: rowKey), isReadOnly: isReadOnly)
  }

  @Test("base64 with escaped characters is read", arguments: [#"\/\/\/\/"#, #"\u002f//\u002F"#])
  func escapes(_ text: String) async throws {
    try await withFolder { folder in
      let path = folder.appending("t.jsonl")
      try path.write("{\"secret\":\"\(text)\",\"url\":\"a\\/b\"}\n")
      var source = table(path, .jsonl)
      let pass = try await rewrite(&source) { _ in [0xFB, 0xFF] }
      #expect(pass.values == [[0xFF, 0xFF, 0xFF]])
      #expect(try path.text == "{\"secret\":\"+/8=\",\"url\":\"a\\/b\"}\n")
    }
  }

  @Test("several columns and a row key: each value has its context", arguments: TextTable.Format.allCases)
  func contexts(_ format: TextTable.Format) async throws {
    try await withFolder { folder in
      let path = folder.appending("t")
      let values = ["a", "b"].map { base64(old($0)) }
      try path.write(
        format == .csv
          ? "card,\"id\",email\n\(values[0]),\"a/\"\"1\"\"\",\(values[1])\n"
          : #"{"email":"\#(values[1])","id":"a\/\"1\"","card":"\#(values[0])"}"#)
      var source = TextTable(
        path, format: format,
        columns: TableColumns(["email", "card"], rowKey: "id", context: [(name: "table", value: "people")]))
      let items = try await rewrite(&source) { _ in nil }.items
      func context(_ column: String) throws -> EncryptionContext {
        try EncryptionContext([
          (name: "table", value: "people"), (name: "column", value: column), (name: "row", value: "a/\"1\""),
        ])
      }
      let expected = Set([try context("card"), try context("email")])
      #expect(Set(items.map(\.context)) == expected && items.count == 2)
      #expect(
        Set(items.map(\.name))
          == Set(["card", "email"].map { "\(path), \(format == .csv ? "row 2" : "line 1"), \($0)" }))
    }
  }

  @Test("a column that is not there, and an empty table")
  func missingColumn() async throws {
    try await withFolder { folder in
      let path = folder.appending("t.csv")
      for (text, part) in [("id,email\n", "no column 'secret'"), ("", "empty")] {
        try path.write(text)
        var source = table(path, .csv)
        let error = try await failure { _ = try await rewrite(&source) { _ in nil } }
        #expect(error.code == .invalidInput && "\(error)".contains(part))
      }
      try path.write("")
      var lines = table(path, .jsonl)
      #expect(try await rewrite(&lines) { _ in nil }.items.isEmpty)
    }
  }
}

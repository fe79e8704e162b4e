import Foundation
import TestSupport
import Testing

/// Scripts/open-envelope.py on Fixtures/vectors/envelope.json: it opens what opens, and is as strict as the suite.
@Suite(.enabled(if: Python.isThere, "Scripts/interop/setup.sh has not made the Python environment"))
struct OpenEnvelopeVectorTests {
  private struct Vectors: Decodable {
    let kek: [String: String]
    let field: [Field]
    let refuse: [Refusal]
  }

  private struct Field: Decodable {
    let name: String
    let context: [[String]]
    let plaintext: String
    let message: String
  }

  private struct Refusal: Decodable {
    let why: String
    let expect: String
    let context: [[String]]
    let message: String
  }

  private let folder = TemporaryFolder()
  private let vectors: Vectors

  init() throws {
    let file = URL(fileURLWithPath: Python.root + "/Fixtures/vectors/envelope.json")
    vectors = try JSONDecoder().decode(Vectors.self, from: Data(contentsOf: file))
    for (kid, kek) in vectors.kek {
      try kek.write(toFile: folder.path + "/" + kid, atomically: true, encoding: .utf8)
    }
  }

  private func open(_ message: String, _ context: [[String]]) async throws -> (result: ProcessResult, output: [UInt8]?)
  {
    let (input, output) = (folder.path + "/message", folder.path + "/out")
    try? FileManager.default.removeItem(atPath: output)
    try Data(bytes(message)).write(to: URL(fileURLWithPath: input))
    let keks = vectors.kek.keys.flatMap { ["--kek", "\($0)=\(folder.path)/\($0)"] }
    let pairs = context.flatMap { ["--context", "\($0[0])=\($0[1])"] }
    let result = try await Python.openEnvelope([input, "-o", output] + keks + pairs)
    return (result, FileManager.default.contents(atPath: output).map { Array($0) })
  }

  @Test func opensEveryField() async throws {
    try #require(!vectors.field.isEmpty)
    for vector in vectors.field {
      let (result, output) = try await open(vector.message, vector.context)
      #expect(result.status == 0, "\(vector.name): \(result.error)")
      #expect(output == bytes(vector.plaintext), "\(vector.name)")
    }
  }

  @Test func refusesWhatTheSuiteRefuses() async throws {
    // It reads key blobs too, so that one is no mistake here.
    let refusals = vectors.refuse.filter { $0.why != "a key blob given as a field" }
    try #require(refusals.count == vectors.refuse.count - 1)
    for vector in refusals {
      let (result, output) = try await open(vector.message, vector.context)
      #expect(result.status == 1, "\(vector.why)")
      #expect(result.error.hasPrefix("open-envelope: \(vector.expect)"), "\(vector.why): \(result.error)")
      #expect(output == nil, "\(vector.why)")
    }
  }
}

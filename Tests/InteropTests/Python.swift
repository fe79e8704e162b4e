import CryptoPrimitives
import Envelope
import Foundation
import KMSCore
import TestSupport

/// Independent implementations, in the environment that Scripts/interop/setup.sh makes.
enum Python {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..")
    .standardizedFileURL.path
  static let environment = root + "/.build/interop-venv"
  static let isThere = FileManager.default.fileExists(atPath: environment + "/ready")

  /// Runs one action of Scripts/interop/interop.py.
  static func run(_ action: String, _ values: [String: [UInt8]]) async throws -> [String: [UInt8]] {
    let input = try JSONEncoder().encode(values.mapValues(hex))
    let result = try await runProcess(
      environment + "/bin/python", [root + "/Scripts/interop/interop.py", action], input: input)
    guard result.status == 0 else { throw KMSError(.invalidInput, "\(action): \(result.error.suffix(300))") }
    return try JSONDecoder().decode([String: String].self, from: Data(result.output.utf8)).mapValues(bytes)
  }

  static func openEnvelope(_ arguments: [String]) async throws -> ProcessResult {
    try await runProcess(environment + "/bin/python", [root + "/Scripts/open-envelope.py"] + arguments)
  }
}

func hex(_ bytes: [UInt8]) -> String { bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }

func bytes(_ hex: String) -> [UInt8] {
  let digits = Array(hex.utf8)
  return stride(from: 0, to: digits.count, by: 2).map { i in
    UInt8(String(decoding: digits[i...i + 1], as: UTF8.self), radix: 16) ?? 0
  }
}

/// A KEK and a message to one recipient under it.
struct Sample {
  let kek = SecretBytes.random(count: 32).unprotectedCopy()
  let kid = KeyVersionID.make()
  let cek = SecretBytes.random(count: 32).unprotectedCopy()
  let context: EncryptionContext
  let pairs: [(name: String, value: String)] = [("table", "person"), ("row", "1001"), ("note", "çà et là")]

  init() throws { context = try EncryptionContext(pairs) }

  func recipient() throws -> Recipient {
    let wrapped = try AESKeyWrap.wrap(cek.span, kek: SecretBytes(copying: kek.span))
    return Recipient(kid: kid, wrapped: WrappedKey(algorithm: .a256KW, bytes: wrapped))
  }

  func sealed(_ plaintext: [UInt8], as content: EncryptMessage.Content = .field) throws -> EncryptMessage {
    try EncryptMessage.seal(
      plaintext.span, as: content, context: context, cek: SecretBytes(copying: cek.span), recipients: [recipient()])
  }

  func opened(_ message: [UInt8]) throws -> [UInt8] {
    let parsed = try EncryptMessage(parsing: message, as: .field)
    let wrapped = parsed.recipients[0].wrapped.bytes
    let key = try AESKeyWrap.unwrap(wrapped.span, kek: SecretBytes(copying: kek.span))
    return try parsed.open(with: key, context: context).unprotectedCopy()
  }
}

import ArgumentParser
import DurableFiles
import RewrapSources
import Strongroom
import SystemPackage

struct Inspect: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show what an envelope says of itself, without any key.",
    discussion: """
      EXAMPLES
        strongroom inspect backup.tar.sealed
        echo "$FIELD" | strongroom inspect -        (base64 is understood)

      Nothing here is authenticated: it is what the envelope claims.
      """)

  @OptionGroup var format: JSONOption
  @Argument(help: "File; '-' is standard input.", completion: .file()) var input: String

  func run() async throws {
    let descriptor =
      input == "-"
      ? FileDescriptor.standardInput
      : try FileFailure.mapping("read", FilePath(input)) { try FileDescriptor.open(FilePath(input), .readOnly) }
    defer { if input != "-" { try? descriptor.close() } }
    if input != "-" { try HeaderJournal(for: FilePath(input)).check() }
    let limit = DataAtRestManager.fieldLimit * 2
    var bytes = try FileFailure.mapping("read", FilePath(input)) { try readStart(descriptor, count: limit) }
    if EnvelopeKind.detect(bytes) == nil, let decoded = try? Base64.decode(bytes.filter { $0 > 0x20 }) {
      bytes = decoded
    }
    show(try describe(bytes))
  }

  private func describe(_ bytes: [UInt8]) throws -> [(name: String, value: JSONValue?)] {
    guard let kind = EnvelopeKind.detect(bytes) else {
      throw KMSError(
        .malformedEnvelope, bytes.isEmpty ? "the input is empty" : "this is no envelope",
        advice: "It does not begin like one; docs/envelope-format.md says how they begin.")
    }
    var facts: [(name: String, value: JSONValue?)] = [("kind", .string(kind.rawValue))]
    switch kind {
    case .encrypt0:
      let message = try Encrypt0Message(parsing: bytes)
      facts.append(("key", .string(try KeyVersionID(message.keyID).description)))
      facts.append(("plaintext_bytes", .integer(Int64(message.ciphertext.count - 16))))
    case .field, .keyBlob:
      try add(EncryptMessage(parsing: bytes, as: kind == .field ? .field : .keyBlob), to: &facts)
    case .file:
      let header = try FileHeader(startOf: bytes)
      facts.append(("header_bytes", .integer(Int64(header.size))))
      try add(header.keyBlob, to: &facts)
    }
    return facts
  }

  private func add(_ message: EncryptMessage, to facts: inout [(name: String, value: JSONValue?)]) throws {
    facts.append(("content_algorithm", .string("AES-256-GCM")))
    facts.append(("key_thumbprint", .string(message.thumbprint.map { hex($0) }.joined())))
    facts.append(
      (
        "recipients",
        .array(
          message.recipients.map { recipient in
            .object([
              ("key_version", .string(recipient.kid.description)),
              ("algorithm", .string(recipient.wrapped.algorithm.description)),
              ("made", (recipient.kid.created?.description).map { .string($0) }),
            ])
          })
      ))
  }

  private func show(_ facts: [(name: String, value: JSONValue?)]) {
    guard !format.json else { return Terminal.print(JSONValue.object(facts).text) }
    for (name, value) in facts {
      switch value {
      case .string(let text): Terminal.print("\(name): \(text)")
      case .array(let items):
        Terminal.print("\(name):")
        for case .object(let pairs) in items {
          let texts = pairs.compactMap { pair in
            if case .string(let text) = pair.1 { "\(pair.0) \(text)" } else { nil }
          }
          Terminal.print("  " + texts.joined(separator: ", "))
        }
      case let value?: Terminal.print("\(name): \(value.text)")
      case nil: break
      }
    }
  }

  private func hex(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }
}

/// Up to `count` bytes from the start of a file or pipe.
private func readStart(_ descriptor: FileDescriptor, count: Int) throws -> [UInt8] {
  var bytes: [UInt8] = []
  while bytes.count < count {
    let got = unsafe try [UInt8](unsafeUninitializedCapacity: 65_536) { buffer, filled in  // read() fills it
      filled = unsafe try descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))  // pointers for the call only
    }
    if got.isEmpty { break }
    bytes += got
  }
  return bytes
}

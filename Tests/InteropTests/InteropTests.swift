import Envelope
import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

@Suite(.enabled(if: Python.isThere, "Scripts/interop/setup.sh has not made the Python environment"))
struct InteropTests {
  @Test(arguments: ["cwt", "pycose"], [0, 16, 5000])
  func fieldsBothWays(library: String, size: Int) async throws {
    let sample = try Sample()
    let plaintext = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
    let common = ["kek": sample.kek, "kid": sample.kid.bytes, "aad": sample.context.encoded]
    let ours = try sample.sealed(plaintext).encoded()
    #expect(try await Python.run("\(library)-open", common.merging(["message": ours]) { $1 })["plaintext"] == plaintext)

    let iv = SecretBytes.random(count: 12).unprotectedCopy()
    let theirs = try await Python.run(
      "\(library)-seal", common.merging(["cek": sample.cek, "iv": iv, "plaintext": plaintext]) { $1 })
    #expect(try sample.opened(#require(theirs["message"])) == plaintext)
  }

  @Test(arguments: ["cwt", "pycose"])
  func aChangedMessageDoesNotOpenThereEither(library: String) async throws {
    let sample = try Sample()
    var message = try sample.sealed([1, 2, 3]).encoded()
    message[message.count - 1] ^= 1  // in the wrapped key
    await #expect(throws: KMSError.self) {
      try await Python.run(
        "\(library)-open",
        ["kek": sample.kek, "kid": sample.kid.bytes, "aad": sample.context.encoded, "message": message])
    }
  }

  @Test(arguments: [0, 1, 1_048_520, 1_048_521, 3_000_000])
  func fileBodiesBothWaysWithTink(size: Int) async throws {
    let key = SecretBytes.random(count: 32).unprotectedCopy()
    let context = try EncryptionContext([("path", "a/b")])
    // CBOR ["strongroom-file-v1", context], as docs/envelope-format.md says.
    let aad = [0x82, 0x72] + Array("strongroom-file-v1".utf8) + context.encoded
    let plaintext = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    func contentKey() throws -> ContentKey { try ContentKey(key: SecretBytes(copying: key.span), use: .fileBody) }

    let ours = try files(plaintext) {
      try FileStream.seal(from: $0, to: $1, key: contentKey(), context: context) { _ in }
    }
    #expect(try await Python.run("tink-open", ["key": key, "aad": aad, "body": ours])["plaintext"] == plaintext)

    let theirs = try await Python.run("tink-seal", ["key": key, "aad": aad, "plaintext": plaintext])
    let opened = try files(#require(theirs["body"])) {
      try FileStream.open(from: $0, to: $1, key: contentKey(), context: context) { _ in }
    }
    #expect(opened == plaintext)
  }

  private func files(_ input: [UInt8], _ body: (FileDescriptor, FileDescriptor) throws -> Void) throws -> [UInt8] {
    let folder = TemporaryFolder()
    try Data(input).write(to: URL(fileURLWithPath: folder.path + "/in"))
    let from = try FileDescriptor.open(FilePath(folder.path + "/in"), .readOnly)
    let to = try FileDescriptor.open(
      FilePath(folder.path + "/out"), .writeOnly, options: .create, permissions: .ownerReadWrite)
    defer {
      try? from.close()
      try? to.close()
    }
    try body(from, to)
    return Array(try Data(contentsOf: URL(fileURLWithPath: folder.path + "/out")))
  }
}

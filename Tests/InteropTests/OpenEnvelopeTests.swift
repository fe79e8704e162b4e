import CryptoPrimitives
import Envelope
import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

/// Scripts/open-envelope.py: the way out, without the suite.
@Suite(.enabled(if: Python.isThere, "Scripts/interop/setup.sh has not made the Python environment"))
struct OpenEnvelopeTests {
  let folder = TemporaryFolder()
  let sample: Sample

  init() throws {
    sample = try Sample()
    try hex(sample.kek).write(toFile: folder.path + "/kek.hex", atomically: true, encoding: .utf8)
  }

  private func open(_ message: [UInt8], _ more: [String] = [], context: Bool = true) async throws -> ProcessResult {
    try? FileManager.default.removeItem(atPath: folder.path + "/out")
    try Data(message).write(to: URL(fileURLWithPath: folder.path + "/message"))
    let pairs = context ? sample.pairs.flatMap { ["--context", "\($0.name)=\($0.value)"] } : []
    return try await Python.openEnvelope(
      [folder.path + "/message", "-o", folder.path + "/out", "--kek", "\(sample.kid)=\(folder.path)/kek.hex"] + pairs
        + more)
  }

  private var output: [UInt8]? {
    FileManager.default.contents(atPath: folder.path + "/out").map { Array($0) }
  }

  @Test func aField() async throws {
    let result = try await open(sample.sealed(Array("hello".utf8)).encoded())
    #expect(result.status == 0, "\(result.error)")
    #expect(output == Array("hello".utf8))
  }

  @Test func anotherContextOrAChangeDoesNotOpen() async throws {
    var message = try sample.sealed(Array("hello".utf8)).encoded()
    #expect(try await open(message, context: false).status == 1)
    message[70] ^= 1
    let result = try await open(message)
    #expect(result.status == 1)
    #expect(result.error.split(separator: "\n").count == 1, "\(result.error)")
    #expect(output == nil)
  }

  @Test func aFieldWhoseKeyIsWrappedByGCM() async throws {
    let (iv, aad) = (Randomness.bytes(12), EncryptMessage.recipientAAD(sample.context))
    let wrapped = try AESGCM(key: SecretBytes(copying: sample.kek.span)).seal(
      sample.cek.span, iv: iv.span, aad: aad.span)
    let recipient = Recipient(kid: sample.kid, wrapped: WrappedKey(algorithm: .a256GCM, iv: iv, bytes: wrapped))
    let message = try EncryptMessage.seal(
      Array("hello".utf8).span, as: .field, context: sample.context, cek: SecretBytes(copying: sample.cek.span),
      recipients: [recipient])
    #expect(try EncryptMessage(parsing: message.encoded(), as: .field) == message)
    let result = try await open(message.encoded())
    #expect(result.status == 0, "\(result.error)")
    #expect(output == Array("hello".utf8))
  }

  @Test func anythingThatIsNotThereIsSaidInOneLine() async throws {
    let kek = ["--kek", "\(sample.kid)=\(folder.path)/kek.hex"]
    let noInput = try await Python.openEnvelope([folder.path + "/nothing"] + kek)
    #expect(noInput.status == 1)
    #expect(noInput.error.split(separator: "\n").count == 1, "\(noInput.error)")
    let noKEK = try await Python.openEnvelope([folder.path + "/kek.hex", "--kek", "00=\(folder.path)/nothing"])
    #expect(noKEK.status == 2)
    #expect(!noKEK.error.contains("Traceback"), "\(noKEK.error)")
    #expect(try await Python.openEnvelope(["--help"]).output.contains("Exit codes"))
  }

  @Test func aFieldUnderASharedKey() async throws {
    let dek = ContentKey.random(for: .sharedField)
    let plaintext = dek.encoded().unprotectedCopy()
    try Data(sample.sealed(plaintext, as: .keyBlob).encoded()).write(to: URL(fileURLWithPath: folder.path + "/blob"))
    let message = try Encrypt0Message.seal(Array("row".utf8).span, context: sample.context, dek: dek).encoded()
    let blob =
      ["--key-blob", folder.path + "/blob"] + sample.pairs.flatMap { ["--key-blob-context", "\($0.name)=\($0.value)"] }
    let result = try await open(message, blob)
    #expect(result.status == 0, "\(result.error)")
    #expect(output == Array("row".utf8))
  }

  @Test(arguments: [0, 10, 2_000_000])
  func aFile(size: Int) async throws {
    let key = ContentKey.random(for: .fileBody)
    let header = try FileHeader(keyBlob: sample.sealed(key.encoded().unprotectedCopy(), as: .keyBlob)).encoded()
    let plaintext = [UInt8](repeating: 9, count: size)
    try Data(plaintext).write(to: URL(fileURLWithPath: folder.path + "/plain"))
    try Data(header).write(to: URL(fileURLWithPath: folder.path + "/file"))
    let from = try FileDescriptor.open(FilePath(folder.path + "/plain"), .readOnly)
    let to = try FileDescriptor.open(FilePath(folder.path + "/file"), .writeOnly, options: .append)
    try FileStream.seal(from: from, to: to, key: key, context: sample.context) { _ in }
    try from.close()
    try to.close()
    let sealed = Array(FileManager.default.contents(atPath: folder.path + "/file") ?? Data())
    let result = try await open(sealed)
    #expect(result.status == 0, "\(result.error)")
    #expect(output == plaintext)
    #expect(try await open(Array(sealed.dropLast())).status == 1)
    #expect(output == nil)
  }
}

import CryptoPrimitives
import Envelope
import Foundation
import KMSCore
import SystemPackage
import Testing

@Suite struct FileVectorTests {
  let vector = Vectors.all.file

  private func key() throws -> ContentKey {
    try ContentKey(key: SecretBytes(copying: vector.streamKey.bytes.span), use: .fileBody)
  }

  @Test func headerOpensAndIsReproduced() throws {
    let header = try FileHeader(parsing: vector.header.bytes)
    #expect(header.size == 1024)
    #expect(header.encoded() == vector.header.bytes)
    let opened = try openByHand(header.keyBlob, context(vector.keyBlob.context))
    #expect(opened.unprotectedCopy() == vector.keyBlob.plaintext.bytes)
    let key = try ContentKey(parsing: opened)
    let (use, bytes) = (key.use, key.key.unprotectedCopy())
    #expect(use == .fileBody)
    #expect(bytes == vector.streamKey.bytes)
    #expect(EnvelopeKind.detect(vector.header.bytes) == .file)
  }

  @Test func filesAreReproducedAndOpen() throws {
    let head = [0x28] + vector.salt.bytes + vector.noncePrefix.bytes
    let pattern = Array("0123456789abcdef".utf8)
    for file in vector.files {
      let plaintext = (0..<file.plaintextLength).map { pattern[$0 % 16] }
      let body = try FileBody(key: key(), context: context(vector.keyBlob.context), head: head)
      var bytes = vector.header.bytes + head
      var (index, start) = (0, 0)
      repeat {
        let end = min(start + FileBody.plaintextSize(ofSegment: index), plaintext.count)
        bytes += try [UInt8](capacity: end - start + 16) { output in
          try body.seal(
            plaintext.span.extracting(start..<end), segment: index, isLast: end == plaintext.count, into: &output)
        }
        (index, start) = (index + 1, end)
      } while start < plaintext.count
      #expect(bytes.count == file.fileLength)
      #expect(SHA256.digest(bytes.span) == file.fileSha256.bytes)

      let opened = try stream(bytes) { input, output in
        let (header, raw) = try FileStream.readHeader(from: input)
        #expect(header.size == raw.count)
        try FileStream.open(
          from: input, to: output, key: key(), context: context(vector.keyBlob.context), progress: { _ in })
      }
      #expect(opened == plaintext)
    }
  }
}

/// Runs `body` from a file that holds `input` to another, and gives what stands there afterwards.
func stream(_ input: [UInt8], _ body: (FileDescriptor, FileDescriptor) throws -> Void) throws -> [UInt8] {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("stream-\(UUID())")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  let (source, target) = (folder.appendingPathComponent("in"), folder.appendingPathComponent("out"))
  try Data(input).write(to: source)
  try Data().write(to: target)
  let from = try FileDescriptor.open(FilePath(source.path), .readOnly)
  let to = try FileDescriptor.open(FilePath(target.path), .writeOnly)
  defer {
    try? from.close()
    try? to.close()
  }
  try body(from, to)
  return Array(try Data(contentsOf: target))
}

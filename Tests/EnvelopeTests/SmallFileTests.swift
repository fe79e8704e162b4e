import CryptoPrimitives
import Envelope
import Foundation
import KMSCore
import SystemPackage
import Testing

/// A whole file of header and body, small enough to damage every byte of it; and files that come through pipes.
@Suite struct SmallFileTests {
  private let kek = Randomness.bytes(32)
  private let plaintext = Array("small".utf8)

  private func recipient(_ cek: borrowing SecretBytes) throws -> Recipient {
    let wrapped = try cek.withBytes { try AESKeyWrap.wrap($0, kek: SecretBytes(copying: kek.span)) }
    return Recipient(kid: .make(), wrapped: WrappedKey(algorithm: .a256KW, bytes: wrapped))
  }

  private func keyBlob(_ key: borrowing ContentKey, recipients count: Int = 1) throws -> EncryptMessage {
    let cek = SecretBytes.random(count: 32)
    var recipients: [Recipient] = []
    for _ in 0..<count { recipients.append(try recipient(cek)) }
    return try key.encoded().withBytes {
      try EncryptMessage.seal($0, as: .keyBlob, context: .empty, cek: cek, recipients: recipients)
    }
  }

  private func sealedFile() throws -> [UInt8] {
    let key = ContentKey.random(for: .fileBody)
    let header = try FileHeader(keyBlob: keyBlob(key), size: 300).encoded()
    return try header + stream(plaintext) { try FileStream.seal(from: $0, to: $1, key: key, context: .empty) { _ in } }
  }

  private func opened(_ file: [UInt8]) throws -> [UInt8] {
    try stream(file) { source, target in
      let (header, _) = try FileStream.readHeader(from: source)
      let recipient = header.keyBlob.recipients[0]
      let cek = try AESKeyWrap.unwrap(recipient.wrapped.bytes.span, kek: SecretBytes(copying: kek.span))
      let key = try ContentKey(parsing: header.keyBlob.open(with: cek, context: .empty))
      try FileStream.open(from: source, to: target, key: key, context: .empty) { _ in }
    }
  }

  private func refusal(_ file: [UInt8]) -> KMSError.Code? {
    do { _ = try opened(file) } catch { return (error as? KMSError)?.code }
    return nil
  }

  @Test(
    "whatever recipients a new file has, its header holds them", arguments: [(1, 1), (1, 2), (2, 1), (3, 1), (1, 3)])
  func recipientsOfAllSizes(wraps: Int, keys: Int) throws {
    let key = ContentKey.random(for: .fileBody)
    let cek = SecretBytes.random(count: 32)
    // A key of 4,096 bits under an id of 32 bytes and one wrapped recipient leave 258 bytes, which no zeros fill.
    for size in stride(from: 256, through: 1024, by: 128) {
      for length in [1, 16, 32, 64] {
        var recipients: [Recipient] = []
        for _ in 0..<wraps { recipients.append(try recipient(cek)) }
        for number in 0..<keys {
          let wrapped = WrappedKey(algorithm: .rsaOAEP256, bytes: Randomness.bytes(size))
          let kid = try KeyVersionID([UInt8](repeating: UInt8(number), count: length))
          recipients.append(Recipient(kid: kid, wrapped: wrapped))
        }
        let blob = try key.encoded().withBytes {
          try EncryptMessage.seal($0, as: .keyBlob, context: .empty, cek: cek, recipients: recipients)
        }
        let header = try FileHeader(forNewFile: blob)
        #expect(try FileHeader(parsing: header.encoded()) == header && header.encoded().count == header.size)
      }
    }
  }

  @Test("what is no content key has the name of none, however long it is")
  func thumbprints() {
    let names = [0, 31, 32, 33, 255, 256, 288, 1000].map { KeyThumbprint.of(SecretBytes.random(count: $0)) }
    #expect(Set(names).count == names.count && names.allSatisfy { $0.count == 32 })
  }

  /// Found by Scripts/fuzz.sh: what stands behind a header with little room left was read as part of it.
  @Test func aHeaderOfAnySizeIsReadAndNotAByteMore() throws {
    let key = ContentKey.random(for: .fileBody)
    let blob = try keyBlob(key)
    let least = 3 + blob.encoded().count + 1
    for size in least...least + 70 {
      guard let header = try? FileHeader(keyBlob: blob, size: size).encoded() else {
        #expect(size == least + 24, "between a head of one byte and one of two no size fits")
        continue
      }
      let file =
        try header
        + stream(plaintext) { try FileStream.seal(from: $0, to: $1, key: key, context: .empty) { _ in } }
      #expect(try opened(file) == plaintext, "\(size) bytes")
    }
  }

  @Test func everyFlippedByteIsRefusedButTheKid() throws {
    let file = try sealedFile()
    #expect(try opened(file) == plaintext)
    // The kid is not authenticated: a reader that has the KEK at hand by another way opens it all the same.
    let kid = try FileHeader(startOf: file).keyBlob.recipients[0].kid.bytes
    let start = try #require((0..<file.count).first { file[$0...].starts(with: kid) })
    for i in file.indices where !(start..<start + kid.count).contains(i) {
      var bad = file
      bad[i] ^= 1
      let code = refusal(bad)
      #expect(code == .malformedEnvelope || code == .doesNotOpen, "byte \(i): \(String(describing: code))")
    }
  }

  @Test func everyCutIsRefused() throws {
    let file = try sealedFile()
    for count in 0..<file.count {
      let code = refusal(Array(file.prefix(count)))
      #expect(code == .malformedEnvelope || code == .doesNotOpen, "cut to \(count): \(String(describing: code))")
    }
  }

  @Test func aHeaderRefusesRecipientsThatItCannotTake() throws {
    let key = ContentKey.random(for: .fileBody)
    let blob = try keyBlob(key, recipients: 8)
    #expect(try FileHeader(keyBlob: blob).encoded().count == FileHeader.defaultSize)
    #expect(throws: KMSError(.limitExceeded, "")) { try FileHeader(keyBlob: blob, size: 512) }
  }

  /// Both ends are pipes, fed and drained in pieces that match no segment.
  @Test(arguments: [0, 1, 1_048_520, 1_500_000]) func throughPipes(count: Int) throws {
    let plaintext = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 13) }
    let key = ContentKey.random(for: .fileBody)
    let sealed = try throughPipe(plaintext) {
      try FileStream.seal(from: $0, to: $1, key: key, context: .empty) { _ in }
    }
    #expect(sealed.count == FileBody.headSize + count + (count > 1_048_520 ? 32 : 16))
    let back = try throughPipe(sealed) { try FileStream.open(from: $0, to: $1, key: key, context: .empty) { _ in } }
    #expect(back == plaintext)
  }

  private func throughPipe(
    _ input: [UInt8], _ body: (FileDescriptor, FileDescriptor) throws -> Void
  ) throws -> [UInt8] {
    let (source, feed) = try FileDescriptor.pipe()
    let (drain, target) = try FileDescriptor.pipe()
    let output = Drained()
    let group = DispatchGroup()
    DispatchQueue.global().async(group: group) {
      for start in stride(from: 0, to: input.count, by: 7001) {
        _ = try? feed.writeAll(input[start..<min(start + 7001, input.count)])
      }
      try? feed.close()
    }
    DispatchQueue.global().async(group: group) { output.fill(from: drain) }
    defer {
      try? source.close()
      try? drain.close()
    }
    do { try body(source, target) } catch {
      try? target.close()
      throw error
    }
    try target.close()
    group.wait()
    return output.bytes
  }
}

private final class Drained: @unchecked Sendable {  // written by one thread, read after it has ended
  private(set) var bytes: [UInt8] = []

  func fill(from source: FileDescriptor) {
    let handle = FileHandle(fileDescriptor: source.rawValue)
    while let part = try? handle.read(upToCount: 5003), !part.isEmpty { bytes += part }
  }
}

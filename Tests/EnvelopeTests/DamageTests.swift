import Envelope
import KMSCore
import SystemPackage
import Testing

/// Whatever happens to an envelope, it is refused: nothing opens to something else, and nothing crashes.
@Suite struct DamageTests {
  private func refusal(_ body: () throws -> Void) -> KMSError.Code? {
    do { try body() } catch { return (error as? KMSError)?.code }
    return nil
  }

  private func openField(_ bytes: [UInt8]) throws {
    _ = try openByHand(EncryptMessage(parsing: bytes, as: .field), context(Vectors.all.field[0].context))
  }

  private let expected: Set<KMSError.Code?> = [.malformedEnvelope, .doesNotOpen, .notOurs]

  @Test func everyFlippedByteOfAFieldIsRefused() {
    let good = Vectors.all.field[0].message.bytes
    for i in good.indices {
      for mask: UInt8 in [1, 0x80, 0xFF] {
        var bad = good
        bad[i] ^= mask
        #expect(expected.contains(refusal { try openField(bad) }), "byte \(i) with \(mask)")
      }
    }
  }

  @Test func everyCutFieldIsMalformed() {
    let good = Vectors.all.field[0].message.bytes
    for count in 0..<good.count {
      #expect(refusal { try openField(Array(good.prefix(count))) } == .malformedEnvelope, "cut to \(count)")
    }
  }

  @Test func everyFlippedByteOfASharedFieldIsRefused() throws {
    let vector = Vectors.all.sharedDekField
    let dek = try #require(Vectors.all.keyBlob.dek)
    for i in vector.message.bytes.indices {
      var bad = vector.message.bytes
      bad[i] ^= 1
      let code = refusal {
        let key = try ContentKey(key: SecretBytes(copying: dek.bytes.span), use: .sharedField)
        _ = try Encrypt0Message(parsing: bad).open(with: key, context: context(vector.context))
      }
      #expect(expected.contains(code), "byte \(i)")
    }
  }

  @Test func everyFlippedByteOfAHeaderIsRefused() throws {
    // One recipient alone: with two, the other one still opens it.
    let keyBlob = try FileHeader(parsing: Vectors.all.file.header.bytes).keyBlob
    let good = try FileHeader(keyBlob: keyBlob.replacing(recipients: [keyBlob.recipients[0]])).encoded()
    for i in good.indices {
      var bad = good
      bad[i] ^= 1
      let code = refusal {
        _ = try openByHand(FileHeader(parsing: bad).keyBlob, context(Vectors.all.file.keyBlob.context))
      }
      #expect(expected.contains(code), "byte \(i)")
    }
  }

  @Test func randomBytesAreRefused() {
    var random = SystemRandomNumberGenerator()
    for _ in 0..<20_000 {
      let start: [UInt8] =
        [[], [0xD8, 0x60, 0x84], [0xD0, 0x83], [0xD9, 0xD9, 0xF7, 0xD8, 0x60]].randomElement() ?? []
      let bytes = start + (0..<Int.random(in: 0..<80)).map { _ in UInt8.random(in: .min ... .max, using: &random) }
      #expect(refusal { _ = try EncryptMessage(parsing: bytes, as: .field) } == .malformedEnvelope)
      #expect(refusal { _ = try Encrypt0Message(parsing: bytes) } == .malformedEnvelope)
      #expect(refusal { _ = try FileHeader(parsing: bytes) } == .malformedEnvelope)
    }
  }

  @Test func aLengthThatCannotBeIsRefusedBeforeAnythingIsAllocated() {
    // A byte string of 2^62 bytes where the IV stands.
    let message: [UInt8] =
      [0xD0, 0x83, 0x43, 0xA1, 0x01, 0x03, 0xA2, 0x04, 0x41, 0x00, 0x05, 0x5B, 0x40]
      + [UInt8](repeating: 0, count: 7)
    #expect(refusal { _ = try Encrypt0Message(parsing: message) } == .malformedEnvelope)
  }

  @Test(arguments: [0, 1, 1_048_519, 1_048_520, 1_048_521, 2_097_080, 2_097_081])
  func filesOfAnySizeComeBack(count: Int) throws {
    let plaintext = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let key = ContentKey.random(for: .fileBody)
    let sealed = try stream(plaintext) { try FileStream.seal(from: $0, to: $1, key: key, context: .empty) { _ in } }
    let opened = try stream(sealed) { try FileStream.open(from: $0, to: $1, key: key, context: .empty) { _ in } }
    #expect(opened == plaintext)
  }

  @Test func aBodyThatIsNotWholeIsRefused() throws {
    let key = ContentKey.random(for: .fileBody)
    let sealed = try stream([UInt8](repeating: 7, count: 3_000_000)) {
      try FileStream.seal(from: $0, to: $1, key: key, context: .empty) { _ in }
    }
    let segment = FileBody.segmentSize
    var swapped = sealed
    swapped.replaceSubrange(segment..<2 * segment, with: sealed[segment..<2 * segment].reversed())
    let cases: [String: [UInt8]] = [
      "cut inside": Array(sealed.dropLast(10)), "last segment dropped": Array(sealed.prefix(2 * segment)),
      "extended": sealed + [0], "segment left out": Array(sealed.prefix(segment) + sealed.suffix(from: 2 * segment)),
      "segment changed": swapped, "segment repeated": Array(sealed.prefix(2 * segment) + sealed[segment...]),
      "nothing": [], "head only": Array(sealed.prefix(40)),
    ]
    for (name, bad) in cases {
      let code = refusal {
        _ = try stream(bad) { try FileStream.open(from: $0, to: $1, key: key, context: .empty) { _ in } }
      }
      #expect(expected.contains(code), "\(name)")
    }
    let other = refusal {
      _ = try stream(sealed) {
        try FileStream.open(from: $0, to: $1, key: key, context: EncryptionContext([("a", "b")])) { _ in }
      }
    }
    #expect(other == .doesNotOpen)
  }

  @Test func contextsHaveRules() throws {
    for pairs in [[("A", "x")], [("", "x")], [("a", "x"), ("a", "y")], [(String(repeating: "a", count: 65), "")]] {
      #expect(throws: KMSError(.invalidInput, "")) {
        try EncryptionContext(pairs.map { (name: $0.0, value: $0.1) })
      }
    }
    #expect(throws: KMSError(.invalidInput, "")) {
      try EncryptionContext((0..<65).map { (name: "k\($0)", value: "") })
    }
    #expect(throws: KMSError(.invalidInput, "")) {
      try EncryptionContext([(name: "a", value: String(repeating: "x", count: 8192))])
    }
    let sorted = try EncryptionContext([("bb", "1"), ("a", "2")])
    #expect(sorted.names == ["a", "bb"])
  }
}

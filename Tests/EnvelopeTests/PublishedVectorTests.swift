import CryptoPrimitives
import Envelope
import KMSCore
import Testing

/// What an envelope with these KEKs gives: the way of a reader, without a provider.
func openByHand(_ message: EncryptMessage, _ context: EncryptionContext) throws -> SecretBytes {
  for recipient in message.recipients {
    guard let kek = Vectors.all.kek.first(where: { $0.key == recipient.kid.hex })?.value else { continue }
    let cek = try AESKeyWrap.unwrap(
      recipient.wrapped.bytes.span, kek: SecretBytes(copying: kek.bytes.span))
    return try message.open(with: cek, context: context)
  }
  throw KMSError(.notOurs, "no KEK")
}

extension KeyVersionID {
  var hex: String { bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
}

struct PublishedVectorTests {
  @Test(arguments: Vectors.all.field)
  func fieldOpensAndIsReproduced(vector: Vectors.Field) throws {
    let context = try context(vector.context)
    #expect(context.encoded == vector.externalAad.bytes)
    let parsed = try EncryptMessage(parsing: vector.message.bytes, as: .field)
    #expect(try openByHand(parsed, context).unprotectedCopy() == vector.plaintext.bytes)
    #expect(parsed.encoded() == vector.message.bytes)
    #expect(vector.message.bytes.count == vector.length)
    let sealed = try EncryptMessage.seal(
      vector.plaintext.bytes.span, as: .field, context: context, cek: SecretBytes(copying: vector.cek.bytes.span),
      iv: vector.iv.bytes, recipients: parsed.recipients)
    #expect(sealed.encoded() == vector.message.bytes)
    for recipient in parsed.recipients {
      let kek = try #require(Vectors.all.kek[recipient.kid.hex])
      #expect(
        try AESKeyWrap.wrap(vector.cek.bytes.span, kek: SecretBytes(copying: kek.bytes.span))
          == recipient.wrapped.bytes)
    }
    #expect(EnvelopeKind.detect(vector.message.bytes) == .field)
  }

  @Test(arguments: Vectors.all.field)
  func keysThatAreUsedAgainGiveTheSameFields(vector: Vectors.Field) throws {
    let context = try context(vector.context)
    let parsed = try EncryptMessage(parsing: vector.message.bytes, as: .field)
    let cek = SecretBytes(copying: vector.cek.bytes.span)
    let sealer = try FieldSealer(cek: cek, recipients: parsed.recipients)
    let opener = try FieldOpener(cek: cek)
    for _ in 1...2 {
      #expect(
        try sealer.seal(vector.plaintext.bytes.span, context: context, iv: vector.iv.bytes) == vector.message.bytes)
      let parts = try parts(of: vector.message.bytes)
      #expect(try opener.open(vector.message.bytes.span, parts, context: context) == vector.plaintext.bytes)
    }
    // Every length of the ciphertext's head.
    for count in [0, 7, 8, 239, 240, 65_519, 65_520, 1_048_576] {
      let plaintext = [UInt8](repeating: 7, count: count)
      let sealed = try sealer.seal(plaintext.span, context: context)
      let message = try EncryptMessage(parsing: sealed, as: .field)
      #expect(message.encoded() == sealed)
      #expect(try message.open(with: cek, context: context).unprotectedCopy() == plaintext)
    }
    let tooLong = [UInt8](repeating: 7, count: 1_048_577)
    #expect(throws: KMSError(.limitExceeded, "")) { try sealer.seal(tooLong.span, context: context) }
  }

  @Test func rewrappingIsReplacingTheRecipients() throws {
    let before = try EncryptMessage(parsing: Vectors.all.field[1].message.bytes, as: .field)
    let after = try EncryptMessage(parsing: Vectors.all.field[2].message.bytes, as: .field)
    #expect(try before.replacing(recipients: after.recipients).encoded() == Vectors.all.field[2].message.bytes)
  }

  @Test func keyBlobOpensAndIsReproduced() throws {
    let vector = Vectors.all.keyBlob
    let context = try context(vector.context)
    let parsed = try EncryptMessage(parsing: vector.message.bytes, as: .keyBlob)
    let plaintext = try openByHand(parsed, context)
    #expect(plaintext.unprotectedCopy() == vector.plaintext.bytes)
    let key = try ContentKey(parsing: plaintext)
    let (id, use, bytes, again) = (key.id, key.use, key.key.unprotectedCopy(), key.encoded().unprotectedCopy())
    #expect(id == vector.dekId?.bytes)
    #expect(use == .sharedField)
    #expect(bytes == vector.dek?.bytes)
    #expect(again == vector.plaintext.bytes)
    let sealed = try EncryptMessage.seal(
      vector.plaintext.bytes.span, as: .keyBlob, context: context, cek: SecretBytes(copying: vector.cek.bytes.span),
      iv: vector.iv.bytes, recipients: parsed.recipients)
    #expect(sealed.encoded() == vector.message.bytes)
    #expect(EnvelopeKind.detect(vector.message.bytes) == .keyBlob)
  }

  @Test func sharedFieldOpensAndIsReproduced() throws {
    let vector = Vectors.all.sharedDekField
    let context = try context(vector.context)
    let material = try #require(Vectors.all.keyBlob.dek).bytes
    let dek = try ContentKey(key: SecretBytes(copying: material.span), use: .sharedField)
    let parsed = try Encrypt0Message(parsing: vector.message.bytes)
    #expect(parsed.keyID == vector.dekId.bytes)
    #expect(try parsed.open(with: dek, context: context).unprotectedCopy() == vector.plaintext.bytes)
    let sealed = try Encrypt0Message.seal(
      vector.plaintext.bytes.span, context: context, dek: dek, iv: vector.iv.bytes)
    #expect(sealed.encoded() == vector.message.bytes)
    let (sealer, opener) = (try FieldSealer(dek: dek), try FieldOpener(dek: dek))
    let parts = try parts(of: vector.message.bytes)
    for _ in 1...2 {
      #expect(
        try sealer.seal(vector.plaintext.bytes.span, context: context, iv: vector.iv.bytes) == vector.message.bytes)
      #expect(try opener.open(vector.message.bytes.span, parts, context: context) == vector.plaintext.bytes)
    }
    #expect(vector.message.bytes.count == 73)
    #expect(EnvelopeKind.detect(vector.message.bytes) == .encrypt0)
  }

  @Test("a field has parts only where the strict reader reads it up to its recipients")
  func partsAreReadAsStrictly() throws {
    let good = [Vectors.all.field[0].message.bytes, Vectors.all.sharedDekField.message.bytes]
    var (refused, taken) = (0, 0)
    for (isShared, message) in zip([false, true], good) {
      let own = try parts(of: message)
      let frame = FieldFrame(message, own)
      for i in message.indices {
        for value in [message[i] ^ 1, message[i] ^ 0x80, 0, 0xFF] {
          var changed = message
          changed[i] = value
          check(changed)
        }
        check(Array(message[..<i]))
      }
      check(message + [0])

      func check(_ bytes: [UInt8]) {
        let isRead =
          isShared
          ? (try? Encrypt0Message(parsing: bytes)) != nil : (try? EncryptMessage(parsing: bytes, as: .field)) != nil
        let parts = FieldParts(of: bytes.span)
        // Alike is what has the same parts, and differs in IV and ciphertext at most.
        let (framed, isAlike) = (
          frame.parts(of: bytes.span), parts.map { $0.rest(of: bytes) == own.rest(of: message) } ?? false
        )
        #expect(isAlike ? framed?.all == parts?.all : framed == nil)
        // Recipients are compared with those of a message that was read.
        if isShared { #expect((parts != nil) == isRead) } else if isRead { #expect(parts != nil) }
        if let parts, isRead {
          taken += 1
          #expect(parts.isShared == isShared && parts.ciphertext.count >= 16)
        } else {
          refused += 1
        }
      }
    }
    #expect(refused > 300 && taken > 300)
  }

  private func parts(of message: [UInt8]) throws -> FieldParts {
    let parts = FieldParts(of: message.span)  // a span is nothing to require with
    return try #require(parts)
  }

  @Test(arguments: Vectors.all.refuse)
  func refused(vector: Vectors.Refusal) throws {
    var found: KMSError.Code?
    do {
      let message = try EncryptMessage(parsing: vector.message.bytes, as: .field)
      _ = try openByHand(message, context(vector.context))
    } catch let error as KMSError { found = error.code }
    let expected: [String: KMSError.Code] = [
      "malformed": .malformedEnvelope, "does not open": .doesNotOpen, "not ours": .notOurs,
    ]
    #expect(found == expected[vector.expect])
  }

  @Test func aMessageThatIsNotOursSaysWhoseItIs() throws {
    let vector = try #require(Vectors.all.refuse.first { $0.expect == "not ours" })
    let message = try EncryptMessage(parsing: vector.message.bytes, as: .field)
    #expect(message.recipients.map(\.kid.bytes) == [Array("nobody".utf8)])
  }

  @Test func aMessageWithoutCommitmentThatTwoKeysOpenIsRefused() {
    #expect(throws: KMSError(.malformedEnvelope, "")) {
      try EncryptMessage(parsing: Vectors.all.refuseSalamander.message.bytes, as: .field)
    }
  }
}

extension FieldParts {
  fileprivate var all: [Range<Int>] { [name, iv, ciphertext] }

  /// What is not the IV or the ciphertext.
  fileprivate func rest(of message: [UInt8]) -> [[UInt8]] {
    [Array(message[..<iv.lowerBound]), Array(message[ciphertext.upperBound...])]
  }
}

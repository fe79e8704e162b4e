internal import CryptoPrimitives
internal import Glibc
internal import KMSCore

/// Where a field's parts stand in its message, so that a key that is known already opens it without its recipients being
/// read again. Numbers alone: a copy of the message would be one more reference to count for each field.
///
/// Whatever does not begin exactly as a field does has no parts here: the parsers say what is wrong with it.
package struct FieldParts {
  /// Whether it is under a shared key (docs/envelope-format.md, section 3), not self-contained (section 1).
  package let isShared: Bool
  /// The commitment (32 bytes), or the shared key's id (16).
  package let name: Range<Int>
  /// 12 bytes.
  package let iv: Range<Int>
  /// With its tag.
  package let ciphertext: Range<Int>

  /// Nil unless it is a field up to the end of its ciphertext.
  package init?(of message: Span<UInt8>) {
    if FieldLayout.selfContained.fits(message) {
      self.init(.selfContained, isShared: false, message)
    } else if FieldLayout.shared.fits(message) {
      self.init(.shared, isShared: true, message)
    } else {
      return nil
    }
  }

  private init?(_ layout: borrowing FieldLayout, isShared: Bool, _ message: Span<UInt8>) {
    guard let ciphertext = Self.ciphertext(message, from: layout.ivStart + AESGCM.ivSize),
      isShared == (ciphertext.upperBound == message.count)
    else { return nil }
    self.init(isShared, layout.name, ciphertext, ivStart: layout.ivStart)
  }

  fileprivate init(_ isShared: Bool, _ name: Range<Int>, _ ciphertext: Range<Int>, ivStart: Int) {
    (self.isShared, self.name, self.ciphertext) = (isShared, name, ciphertext)
    iv = ivStart..<ivStart + AESGCM.ivSize
  }

  // A byte string with the shortest head there is, of a length that a field can have.
  fileprivate static func ciphertext(_ bytes: Span<UInt8>, from start: Int) -> Range<Int>? {
    let first = Int(bytes[start])
    let (size, least) =
      switch first {
      case 0x50...0x57: (0, 0)
      case 0x58: (1, 24)
      case 0x59: (2, 0x100)
      case 0x5A: (4, 0x1_0000)
      default: (-1, 0)
      }
    guard size >= 0, bytes.count > start + size else { return nil }
    var count = size == 0 ? first & 0x1F : 0
    for i in 0..<size { count = count << 8 | Int(bytes[start + 1 + i]) }
    let content = start + 1 + size
    guard count >= max(least, AESGCM.tagSize),
      count <= EncryptMessage.Content.field.largestPlaintext + AESGCM.tagSize, count <= bytes.count - content
    else { return nil }
    return content..<content + count
  }
}

/// What a field would be that begins like this one, told from a few bytes.
package struct FieldHint {
  /// As ``FieldParts/isShared``.
  package let isShared: Bool
  /// Bytes of the key's commitment or id.
  package let hash: UInt64

  /// Nil where it is too short for a field.
  package init?(_ message: Span<UInt8>) {
    // Names are 11 to 43, or 9 to 25.
    guard message.count > 19 else { return nil }
    isShared = message[0] == FieldLayout.shared.start[0]
    hash = unsafe message.withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: 11, as: UInt64.self) }  // as looked
  }
}

/// What all fields of one key and its recipients begin and end with: by it they are told from others, and have their parts,
/// with nothing else being read.
package struct FieldFrame: Sendable {
  private let isShared: Bool
  private let name: Range<Int>
  /// Up to the IV.
  private let head: [UInt8]
  /// The recipients; nothing under a shared key.
  private let tail: [UInt8]

  /// - Parameter message: one of them.
  package init(_ message: [UInt8], _ parts: FieldParts) {
    (isShared, name) = (parts.isShared, parts.name)
    head = Array(message[..<parts.iv.lowerBound])
    tail = Array(message[parts.ciphertext.upperBound...])
  }

  /// The parts of a message that is another one.
  package func parts(of message: Span<UInt8>) -> FieldParts? {
    guard message.count > head.count + AESGCM.ivSize, equal(message.extracting(..<head.count), head.span),
      let ciphertext = FieldParts.ciphertext(message, from: head.count + AESGCM.ivSize),
      equal(message.extracting(ciphertext.upperBound...), tail.span)
    else { return nil }
    return FieldParts(isShared, name, ciphertext, ivStart: head.count)
  }
}

private func equal(_ a: Span<UInt8>, _ b: Span<UInt8>) -> Bool {
  guard a.count == b.count, !a.isEmpty else { return a.count == b.count }
  return unsafe a.withUnsafeBytes { a in  // for the call only
    unsafe b.withUnsafeBytes { b in unsafe memcmp(a.baseAddress!, b.baseAddress!, a.count) == 0 }  // for the call only
  }
}

/// Where the parts of a field stand, up to the IV: always in the same places.
struct FieldLayout: Sendable {
  /// What stands before the key's commitment or id.
  let start: [UInt8]
  let name: Range<Int>
  /// What stands between that and the IV.
  let middle: [UInt8]
  let ivStart: Int

  private init(_ start: [UInt8], name count: Int, _ middle: [UInt8]) {
    self.start = start
    name = start.count..<start.count + count
    self.middle = middle
    ivStart = name.upperBound + middle.count
  }

  /// Tag 96, array of four, `{1: 3, 4: T}` in its byte string, `{5: IV`.
  static let selfContained = FieldLayout(
    [0xD8, 0x60, 0x84, 0x58, 0x26, 0xA2, 0x01, 0x03, 0x04, 0x58, 0x20], name: 32, [0xA1, 0x05, 0x4C])
  /// Tag 16, array of three, `{1: 3}` in its byte string, `{4: id, 5: IV`.
  static let shared = FieldLayout([0xD0, 0x83, 0x43, 0xA1, 0x01, 0x03, 0xA2, 0x04, 0x50], name: 16, [0x05, 0x4C])

  static let noIV = [UInt8](repeating: 0, count: AESGCM.ivSize)

  func fits(_ bytes: Span<UInt8>) -> Bool {
    guard bytes.count > ivStart + AESGCM.ivSize else { return false }
    return equal(bytes.extracting(..<start.count), start.span)
      && equal(bytes.extracting(name.upperBound..<ivStart), middle.span)
  }

  /// Enc_structure of a self-contained field up to its context.
  static func structure(of thumbprint: [UInt8]) -> [UInt8] {
    // With an empty context the structure ends by its empty byte string.
    Array(
      EncryptMessage.structure("Encrypt", protected: EncryptMessage.fieldHeader(thumbprint), .empty).dropLast())
  }

  static let sharedStructure = Array(Encrypt0Message.authenticatedData(.empty).dropLast())

  private static let stackLimit = 512

  /// The structure with the context, on the stack where it is short.
  static func withAAD<Result>(
    _ structure: [UInt8], _ context: EncryptionContext, _ body: (Span<UInt8>) throws -> Result
  ) throws -> Result {
    guard structure.count + 9 + context.encoded.count <= stackLimit else {
      var writer = CBORWriter(capacity: structure.count + 9 + context.encoded.count)
      writer.raw(structure)
      writer.byteString(context.encoded)
      return try body(writer.bytes.span)
    }
    return try unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: stackLimit) { buffer in  // for the call
      var output = unsafe OutputSpan<UInt8>(buffer: buffer, initializedCount: 0)  // this buffer is ours
      output.append(copying: structure)
      CBORWriter.appendHead(.bytes, context.encoded.count, to: &output)
      output.append(copying: context.encoded)
      return try body(output.span)
    }
  }
}

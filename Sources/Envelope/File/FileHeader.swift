internal import KMSCore

/// The beginning of a file: the key blob, and zeros that keep room for other recipients, so that a rewrap
/// changes no other byte (docs/envelope-format.md, section 4).
public struct FileHeader: Sendable, Hashable {
  /// 1,024 bytes.
  public static let defaultSize = 1024
  /// What is left free at least when a file is made: for two more recipients by AES Key Wrap.
  static let spareSize = 192
  /// Longer headers are refused.
  public static let largestSize = 65_536

  /// Holds the file's key.
  public let keyBlob: EncryptMessage
  /// Of the whole header, in bytes.
  public let size: Int

  static let tag = 55_799
  static let magic: [UInt8] = [0xD9, 0xD9, 0xF7, 0xD8, 0x60]

  /// - Throws: ``KMSError/Code/limitExceeded`` when the recipients do not fit.
  public init(keyBlob: EncryptMessage, size: Int = defaultSize) throws {
    let blob = 3 + keyBlob.encoded().count
    guard Self.padding(of: size - blob) != nil else {
      throw KMSError(
        .limitExceeded, "the recipients need \(blob) bytes, and do not fit the file's header of \(size)",
        advice: "Use other recipients, or 'strongroom reencrypt': what is encrypted anew has a header that they fit.")
    }
    self.keyBlob = keyBlob
    self.size = size
  }

  /// A header for a new file, of `least` bytes, or of a multiple of ``defaultSize`` where recipients by RSA need more.
  public init(forNewFile keyBlob: EncryptMessage, least: Int = defaultSize) throws {
    let blob = 3 + keyBlob.encoded().count
    let needed = blob + Self.spareSize
    var size = needed <= least ? least : (needed + Self.defaultSize - 1) / Self.defaultSize * Self.defaultSize
    if Self.padding(of: size - blob) == nil { size += Self.defaultSize }  // the next room can be filled
    try self.init(keyBlob: keyBlob, size: size)
  }

  /// Reads a header of exactly these bytes.
  ///
  /// - Throws: ``KMSError/Code/malformedEnvelope`` with offset and rule.
  public init(parsing bytes: [UInt8]) throws {
    var reader = CBORReader(bytes)
    try reader.expect(.tag, Self.tag, "tag 55799 (a file's header)")
    keyBlob = try EncryptMessage(from: &reader, as: .keyBlob)
    let zeros = try reader.byteStringRange("the header's room", 0...Self.largestSize)
    guard bytes[zeros].allSatisfy({ $0 == 0 }) else {
      throw reader.malformed("the header's room is not zero", at: zeros.lowerBound)
    }
    try reader.finish()
    size = bytes.count
  }

  /// Reads the header that `bytes` begin with.
  public init(startOf bytes: [UInt8]) throws {
    let size = bytes.count + (try Self.missing(in: bytes))
    try self.init(parsing: Array(bytes.prefix(size)))
  }

  /// How many bytes more than these are surely of the header.
  ///
  /// - Parameter bytes: as much of the header as is there.
  /// - Returns: 0 when this is all of it; less when other bytes follow.
  static func missing(in bytes: [UInt8]) throws -> Int {
    var reader = CBORReader(bytes)
    do {
      try reader.expect(.tag, tag, "tag 55799 (a file's header)")
      _ = try EncryptMessage(from: &reader, as: .keyBlob)
      let count = try reader.expect(.bytes, "the header's room")
      guard count <= largestSize - reader.offset else {
        throw reader.malformed("the header is longer than \(largestSize) bytes")
      }
      return reader.offset + count - bytes.count
    } catch let error as KMSError {
      guard let missing = reader.missing, missing <= largestSize - bytes.count else { throw error }
      return missing
    }
  }

  /// The header, zeros included.
  public func encoded() -> [UInt8] {
    var writer = CBORWriter(capacity: size)
    writer.head(.tag, Self.tag)
    writer.raw(keyBlob.encoded())
    let zeros = Self.padding(of: size - writer.bytes.count) ?? 0  // `init` made sure that it fits
    writer.byteString([UInt8](repeating: 0, count: zeros))
    return writer.bytes
  }

  /// How many zeros fill `room` together with their own CBOR head; nil when none do: none fill 25 or 258 bytes, as the
  /// head of one more is longer.
  private static func padding(of room: Int) -> Int? {
    for head in [1, 2, 3] where room >= head {
      let zeros = room - head
      let needed = zeros < 24 ? 1 : zeros < 256 ? 2 : 3
      if needed == head, zeros < 65_536 { return zeros }
    }
    return nil
  }
}

/// Id of one key version: CKA_ID in a token, localKeyID in a key store, `kid` in an envelope.
///
/// The suite makes UUIDv7 (RFC 9562, 5.7), 16 bytes, so ids sort by creation time and nodes that rotate at
/// once never collide. Keys made elsewhere keep the id that they have, 1 to 64 bytes, and sort before all UUIDv7.
public struct KeyVersionID: Sendable, Hashable, Comparable, CustomStringConvertible {
  // All callers share a key's id. A UUIDv7 lies in the value: references to shared memory would be counted by all of
  // them, and that costs two processors as much as a hash.
  private enum Storage: Sendable, Hashable {
    case ours(UInt64, UInt64)
    case other([UInt8])
  }
  private let storage: Storage

  /// - Throws: ``KMSError/Code/invalidInput`` unless there are 1 to 64 bytes.
  public init(_ bytes: [UInt8]) throws {
    guard (1...64).contains(bytes.count) else {
      throw KMSError(
        .invalidInput, "a key version's id has \(bytes.count) bytes", advice: "An id has 1 to 64 bytes.")
    }
    self.init(unchecked: bytes)
  }

  private init(unchecked bytes: [UInt8]) {
    let isOurs = bytes.count == 16 && bytes[6] >> 4 == 7 && bytes[8] >> 6 == 2
    storage = isOurs ? .ours(Self.word(bytes[..<8]), Self.word(bytes[8...])) : .other(bytes)
  }

  private init(ours high: UInt64, _ low: UInt64) { storage = .ours(high, low) }

  private static func word(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }

  /// 1 to 64 bytes.
  public var bytes: [UInt8] {
    switch storage {
    case .ours(let high, let low):
      [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * $0)) } }
    case .other(let bytes): bytes
    }
  }

  /// The bytes of a UUIDv7 as two numbers, the first byte on top; nil for an adopted id.
  package var uuid: (high: UInt64, low: UInt64)? {
    guard case .ours(let high, let low) = storage else { return nil }
    return (high, low)
  }

  /// Reads what ``description`` writes: a UUID with dashes, or an even number of hex digits.
  public init(parsing text: String) throws {
    let digits = text.utf8.filter { $0 != 0x2D }
    let values = digits.compactMap(hexValue)
    guard values.count == digits.count, digits.count % 2 == 0, (1...64).contains(digits.count / 2) else {
      throw KMSError(
        .invalidInput, "'\(text.prefix(140))' is not the id of a key version",
        advice: "Give it as 'strongroom key show' prints it.")
    }
    self.init(unchecked: stride(from: 0, to: values.count, by: 2).map { values[$0] << 4 | values[$0 + 1] })
  }

  /// Whether the suite made this id, so that its time means something.
  public var isUUIDv7: Bool { uuid != nil }

  /// Creation time, to the millisecond; nil for an adopted id.
  public var created: Timestamp? {
    uuid.map { Timestamp(milliseconds: Int64($0.high >> 16)) }
  }

  public var description: String {
    let hex = bytes.map(hexPair).joined()
    guard isUUIDv7 else { return hex }
    let cut = [0, 8, 12, 16, 20, 32].map { hex.utf8.index(hex.startIndex, offsetBy: $0) }
    return zip(cut, cut.dropFirst()).map { String(hex[$0..<$1]) }.joined(separator: "-")
  }

  public static func < (a: KeyVersionID, b: KeyVersionID) -> Bool {
    switch (a.storage, b.storage) {
    case (.ours(let aHigh, let aLow), .ours(let bHigh, let bLow)): (aHigh, aLow) < (bHigh, bLow)
    case (.other(let a), .other(let b)): a.lexicographicallyPrecedes(b)
    case (.other, .ours): true
    case (.ours, .other): false
    }
  }

  /// A new UUIDv7, later than `previous` even if this node's clock is behind the one that made it.
  public static func make(after previous: KeyVersionID? = nil, now: Timestamp = .now()) -> KeyVersionID {
    // Not by way of a time: an adopted id may look like a UUIDv7 of the year 6000, and no time is that late.
    let earliest = previous?.uuid.map { ($0.high >> 16) + 1 } ?? 0
    let milliseconds = min(max(UInt64(max(0, now.milliseconds)), earliest), 1 << 48 - 1)
    var random = SystemRandomNumberGenerator()
    let (high, low): (UInt64, UInt64) = (random.next(), random.next())
    return KeyVersionID(
      ours: milliseconds << 16 | 0x7000 | high & 0x0FFF, 0x8000_0000_0000_0000 | low >> 2)
  }
}

extension KeyVersionID: Codable {
  public init(from decoder: any Decoder) throws {
    try self.init(parsing: decoder.singleValueContainer().decode(String.self))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

private func hexValue(_ digit: UInt8) -> UInt8? {
  switch digit {
  case 0x30...0x39: digit - 0x30
  case 0x61...0x66: digit - 0x61 + 10
  case 0x41...0x46: digit - 0x41 + 10
  default: nil
  }
}

private func hexPair(_ byte: UInt8) -> String {
  let digits = String(byte, radix: 16)
  return digits.utf8.count == 1 ? "0" + digits : digits
}

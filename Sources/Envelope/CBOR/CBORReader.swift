package import KMSCore

/// Reads deterministic CBOR strictly: definite lengths, minimal integers, bounds checked before anything is
/// copied. An index moves over the bytes; no tree is built.
package struct CBORReader {
  package let bytes: [UInt8]
  package private(set) var offset: Int
  /// How many bytes more it would take to read on, where reading failed only because they ended.
  package private(set) var missing: Int?
  private let end: Int

  package init(_ bytes: [UInt8], from start: Int = 0, to end: Int? = nil) {
    self.bytes = bytes
    offset = start
    self.end = end ?? bytes.count
  }

  package var isAtEnd: Bool { offset == end }

  package mutating func head() throws -> (major: CBORWriter.Major, value: Int) {
    let start = offset
    let first = try byte()
    guard let major = CBORWriter.Major(rawValue: first >> 5) else {
      throw malformed("simple values and floats are not used", at: start)
    }
    let info = first & 0x1F
    guard info >= 24 else { return (major, Int(info)) }
    guard info <= 27 else {
      throw malformed(info == 31 ? "indefinite lengths are not allowed" : "reserved length", at: start)
    }
    let count = 1 << Int(info - 24)
    var value: UInt64 = 0
    for _ in 0..<count { value = value << 8 | UInt64(try byte()) }
    let smallest: UInt64 = [24, 0x100, 0x1_0000, 0x1_0000_0000][Int(info - 24)]
    guard value >= smallest else { throw malformed("a number is longer than it need be", at: start) }
    guard value <= UInt64(Int.max) else { throw malformed("a number is too large", at: start) }
    return (major, Int(value))
  }

  package mutating func expect(_ major: CBORWriter.Major, _ what: String) throws -> Int {
    let start = offset
    let found = try head()
    guard found.major == major else { throw malformed("\(what) is expected", at: start) }
    return found.value
  }

  package mutating func expect(_ major: CBORWriter.Major, _ value: Int, _ what: String) throws {
    let start = offset
    guard try expect(major, what) == value else { throw malformed("\(what) is expected", at: start) }
  }

  package mutating func integer(_ what: String) throws -> Int {
    let start = offset
    let found = try head()
    switch found.major {
    case .unsigned: return found.value
    case .negative: return -1 - found.value
    default: throw malformed("\(what) is expected", at: start)
    }
  }

  /// A byte string whose length is in `lengths`.
  package mutating func byteString(_ what: String, _ lengths: ClosedRange<Int>) throws -> [UInt8] {
    let range = try byteStringRange(what, lengths)
    return Array(bytes[range])
  }

  /// Where a byte string's content stands, passed over.
  package mutating func byteStringRange(_ what: String, _ lengths: ClosedRange<Int>) throws -> Range<Int> {
    let start = offset
    let count = try expect(.bytes, what)
    guard lengths.contains(count) else {
      throw malformed(
        "\(what) has \(count) bytes, allowed are \(lengths.lowerBound) to \(lengths.upperBound)", at: start)
    }
    guard count <= end - offset else {
      missing = count - (end - offset)
      throw malformed("\(what) is cut short", at: start)
    }
    defer { offset += count }
    return offset..<offset + count
  }

  package func finish() throws {
    guard isAtEnd else { throw malformed("there are \(end - offset) bytes too many", at: offset) }
  }

  package func malformed(_ rule: String, at position: Int? = nil) -> KMSError {
    KMSError(
      .malformedEnvelope, "malformed envelope at byte \(position ?? offset): \(rule)",
      advice: "It was changed, cut, or is something else; take a good copy.")
  }

  private mutating func byte() throws -> UInt8 {
    guard offset < end else {
      missing = 1
      throw malformed("it is cut short")
    }
    defer { offset += 1 }
    return bytes[offset]
  }
}

/// Writes deterministic CBOR (RFC 8949, 4.2.1) into one array.
package struct CBORWriter {
  package enum Major: UInt8 {
    case unsigned = 0
    case negative = 1
    case bytes = 2
    case text = 3
    case array = 4
    case map = 5
    case tag = 6
  }

  package private(set) var bytes: [UInt8] = []

  package init(capacity: Int) { bytes.reserveCapacity(capacity) }

  package mutating func head(_ major: Major, _ value: Int) {
    let type = major.rawValue << 5
    switch value {
    case ..<24: bytes.append(type | UInt8(value))
    case ..<0x100: append(type | 24, value, bytes: 1)
    case ..<0x1_0000: append(type | 25, value, bytes: 2)
    case ..<0x1_0000_0000: append(type | 26, value, bytes: 4)
    default: append(type | 27, value, bytes: 8)
    }
  }

  package mutating func integer(_ value: Int) {
    if value >= 0 { head(.unsigned, value) } else { head(.negative, -1 - value) }
  }

  package mutating func byteString(_ value: [UInt8]) {
    head(.bytes, value.count)
    bytes += value
  }

  package mutating func text(_ value: String) {
    head(.text, value.utf8.count)
    bytes += value.utf8
  }

  /// Bytes that are encoded already.
  package mutating func raw(_ encoded: [UInt8]) { bytes += encoded }

  /// The head alone, into an output that has room for it (9 bytes).
  package static func appendHead(_ major: Major, _ value: Int, to output: inout OutputSpan<UInt8>) {
    let type = major.rawValue << 5
    let (info, count): (UInt8, Int) =
      switch value {
      case ..<24: (UInt8(value), 0)
      case ..<0x100: (24, 1)
      case ..<0x1_0000: (25, 2)
      case ..<0x1_0000_0000: (26, 4)
      default: (27, 8)
      }
    output.append(type | info)
    // No stride: it is not specialised here, and each field has two of these.
    var left = count
    while left > 0 {
      left -= 1
      output.append(UInt8(truncatingIfNeeded: value >> (8 * left)))
    }
  }

  private mutating func append(_ first: UInt8, _ value: Int, bytes count: Int) {
    bytes.append(first)
    for shift in stride(from: 8 * (count - 1), through: 0, by: -8) {
      bytes.append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }
}

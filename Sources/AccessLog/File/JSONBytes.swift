/// JSON (RFC 8259) written straight into bytes.
extension [UInt8] {
  /// Text in quotes, cut to `limit` bytes of UTF-8 between two Unicode scalars.
  ///
  /// Escaped beyond what JSON asks for: DEL, the C1 controls and the separators U+2028 and U+2029, so that a line
  /// stays one line and does nothing to a terminal.
  mutating func append(jsonString text: String, limit: Int = .max) {
    append(0x22)
    if text.utf8.count <= limit {
      append(jsonEscaped: text)
    } else {
      var end = text.utf8.index(text.startIndex, offsetBy: limit)
      while end.samePosition(in: text.unicodeScalars) == nil { end = text.utf8.index(before: end) }
      append(jsonEscaped: String(text[..<end]))
    }
    append(0x22)
  }

  private mutating func append(jsonEscaped text: String) {
    if isPlain(text) { return append(contentsOf: text.utf8) }
    for scalar in text.unicodeScalars {
      switch scalar.value {
      case 0x22, 0x5C:
        append(0x5C)
        append(UInt8(scalar.value))
      case 0x0A: append(contentsOf: #"\n"#.utf8)
      case 0x0D: append(contentsOf: #"\r"#.utf8)
      case 0x09: append(contentsOf: #"\t"#.utf8)
      case 0..<0x20, 0x7F..<0xA0, 0x2028, 0x2029:
        append(contentsOf: #"\u"#.utf8)
        for shift in [UInt32(12), 8, 4, 0] { append(hexDigit(UInt8(scalar.value >> shift & 15))) }
      default: append(contentsOf: UTF8.encode(scalar)!)  // every scalar has an encoding
      }
    }
  }

  mutating func append(decimal value: UInt64) {
    let decimal = Decimal(value)
    append(decimal.digits.span.extracting(decimal.start...))
  }

  mutating func append(_ bytes: Span<UInt8>) {
    if bytes.isEmpty { return }  // not even a count of none, into the empty array that all threads share
    append(addingCapacity: bytes.count) { output in
      unsafe output.withUnsafeMutableBufferPointer { memory, count in  // has that capacity
        unsafe bytes.withUnsafeBufferPointer { bytes in  // for the call only
          guard let base = bytes.baseAddress, let end = memory.baseAddress else { return }
          unsafe (end + count).initialize(from: base, count: bytes.count)  // as asked for above
          count += bytes.count
        }
      }
    }
  }
}

/// A number in decimal digits.
struct Decimal {
  private(set) var digits = InlineArray<20, UInt8>(repeating: 0x30)
  let start: Int

  init(_ value: UInt64, minimumWidth: Int = 1) {
    var (rest, count) = (value, 0)
    repeat {
      count += 1
      digits[20 - count] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    } while rest > 0
    start = 20 - max(count, minimumWidth)
  }
}

/// Whether nothing in it has to be escaped; ASCII only.
private func isPlain(_ text: String) -> Bool {
  let bytes = text.utf8Span.span
  for i in bytes.indices {
    let byte = bytes[i]
    if byte < 0x20 || byte > 0x7E || byte == 0x22 || byte == 0x5C { return false }
  }
  return true
}

func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }

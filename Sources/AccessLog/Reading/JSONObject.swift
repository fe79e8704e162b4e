/// A flat JSON object (RFC 8259) read from bytes: what a line of the log is. Nil for anything else.
struct JSONObject {
  enum Value: Equatable {
    case string(String)
    case number(Double)
    case bool(Bool)
    case null
    case array([Value])
    /// An object inside; its content is passed over.
    case object

    var string: String? { if case .string(let value) = self { value } else { nil } }
    var number: Double? { if case .number(let value) = self { value } else { nil } }
    var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    var strings: [String]? { if case .array(let values) = self { values.compactMap(\.string) } else { nil } }
  }

  private var fields: [(name: String, value: Value)] = []

  init?(_ bytes: ArraySlice<UInt8>) {
    var reader = Reader(rest: bytes)
    guard let fields = reader.object(depth: 0), reader.isAtEnd() else { return nil }
    self.fields = fields
  }

  /// The last one of that name.
  subscript(name: String) -> Value? { fields.last { $0.name == name }?.value }

  private struct Reader {
    var rest: ArraySlice<UInt8>
    static let maximumDepth = 16

    mutating func isAtEnd() -> Bool {
      skipSpace()
      return rest.isEmpty
    }

    mutating func object(depth: Int) -> [(name: String, value: Value)]? {
      guard take(0x7B) else { return nil }
      var fields: [(name: String, value: Value)] = []
      if take(0x7D) { return fields }
      repeat {
        skipSpace()
        guard let name = string(), take(0x3A), let value = value(depth: depth + 1) else { return nil }
        fields.append((name, value))
      } while take(0x2C)
      return take(0x7D) ? fields : nil
    }

    private mutating func value(depth: Int) -> Value? {
      guard depth < Self.maximumDepth else { return nil }
      skipSpace()
      switch rest.first {
      case 0x22: return string().map(Value.string)
      case 0x7B: return object(depth: depth).map { _ in .object }
      case 0x5B: return array(depth: depth)
      case 0x74: return literal("true", .bool(true))
      case 0x66: return literal("false", .bool(false))
      case 0x6E: return literal("null", .null)
      default: return number()
      }
    }

    private mutating func array(depth: Int) -> Value? {
      guard take(0x5B) else { return nil }
      var values: [Value] = []
      if take(0x5D) { return .array(values) }
      repeat {
        guard let value = value(depth: depth + 1) else { return nil }
        values.append(value)
      } while take(0x2C)
      return take(0x5D) ? .array(values) : nil
    }

    private mutating func literal(_ text: String, _ value: Value) -> Value? {
      guard rest.starts(with: text.utf8) else { return nil }
      rest = rest.dropFirst(text.utf8.count)
      return value
    }

    private mutating func number() -> Value? {
      let digits = rest.prefix(while: Self.isNumeric)
      guard let value = Double(String(decoding: digits, as: UTF8.self)), value.isFinite else { return nil }
      rest = rest[digits.endIndex...]
      return .number(value)
    }

    // Digits and `+ - . e E`
    private static func isNumeric(_ byte: UInt8) -> Bool {
      switch byte {
      case 0x30...0x39, 0x2B, 0x2D, 0x2E, 0x65, 0x45: true
      default: false
      }
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String? {
      do { return String(copying: try UTF8Span(validating: bytes.span)) } catch { return nil }
    }

    private mutating func string() -> String? {
      guard rest.first == 0x22 else { return nil }
      rest = rest.dropFirst()
      let plain = rest.prefix { $0 != 0x22 && $0 != 0x5C && $0 >= 0x20 }
      rest = rest[plain.endIndex...]
      if rest.first == 0x22 {
        rest = rest.dropFirst()
        return Self.text(plain)
      }
      var text = Array(plain)
      while let byte = rest.popFirst() {
        switch byte {
        case 0x22: return Self.text(text[...])
        case 0x5C: guard escape(into: &text) else { return nil }
        case 0..<0x20: return nil
        default: text.append(byte)
        }
      }
      return nil
    }

    private mutating func escape(into text: inout [UInt8]) -> Bool {
      switch rest.popFirst() {
      case 0x62: text.append(0x08)
      case 0x66: text.append(0x0C)
      case 0x6E: text.append(0x0A)
      case 0x72: text.append(0x0D)
      case 0x74: text.append(0x09)
      case 0x75:
        guard var value = hex4() else { return false }
        if (0xD800..<0xDC00).contains(value) {
          guard rest.popFirst() == 0x5C, rest.popFirst() == 0x75, let low = hex4(), (0xDC00..<0xE000).contains(low)
          else { return false }
          value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(value) else { return false }
        text += Array(String(scalar).utf8)
      case let byte? where byte == 0x22 || byte == 0x5C || byte == 0x2F: text.append(byte)
      default: return false
      }
      return true
    }

    private mutating func hex4() -> UInt32? {
      guard rest.count >= 4, let value = UInt32(String(decoding: rest.prefix(4), as: UTF8.self), radix: 16),
        rest.prefix(4).allSatisfy({ $0 != 0x2B && $0 != 0x2D })
      else { return nil }
      rest = rest.dropFirst(4)
      return value
    }

    private mutating func take(_ byte: UInt8) -> Bool {
      skipSpace()
      guard rest.first == byte else { return false }
      rest = rest.dropFirst()
      return true
    }

    private mutating func skipSpace() {
      while let byte = rest.first, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
        rest = rest.dropFirst()
      }
    }
  }
}

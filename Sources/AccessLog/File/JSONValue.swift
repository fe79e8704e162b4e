/// A JSON value whose object members keep their order.
package enum JSONValue {
  case string(String)
  case integer(Int64)
  /// Written with three decimals.
  case thousandths(Int64)
  case bool(Bool)
  case array([JSONValue])
  case object([(name: String, value: JSONValue?)])

  /// Indented by two spaces; object members that are nil are left out.
  package var text: String {
    var bytes: [UInt8] = []
    write(to: &bytes, indent: 0)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The same on one line.
  package var line: String {
    // A newline inside a string is escaped, so these are all between values.
    text.split(separator: "\n").map { $0.drop { $0 == " " } }.joined(separator: " ")
  }

  private func write(to bytes: inout [UInt8], indent: Int) {
    switch self {
    case .string(let text): bytes.append(jsonString: text)
    case .integer(let value): bytes += "\(value)".utf8
    case .thousandths(let value): bytes += fixed(value, decimals: 3).utf8
    case .bool(let value): bytes += "\(value)".utf8
    case .array(let values):
      Self.write(values, "[", "]", to: &bytes, indent: indent) { $0.write(to: &$1, indent: indent + 2) }
    case .object(let members):
      Self.write(members.filter { $0.value != nil }, "{", "}", to: &bytes, indent: indent) { member, bytes in
        bytes.append(jsonString: member.name)
        bytes += ": ".utf8
        member.value?.write(to: &bytes, indent: indent + 2)
      }
    }
  }

  private static func write<T>(
    _ elements: [T], _ open: String, _ close: String, to bytes: inout [UInt8], indent: Int,
    _ body: (T, inout [UInt8]) -> Void
  ) {
    bytes += open.utf8
    for (i, element) in elements.enumerated() {
      bytes += (i == 0 ? "\n" : ",\n").utf8
      bytes += repeatElement(0x20, count: indent + 2)
      body(element, &bytes)
    }
    if !elements.isEmpty {
      bytes.append(0x0A)
      bytes += repeatElement(0x20, count: indent)
    }
    bytes += close.utf8
  }
}

/// `value / 10^decimals` with a point.
package func fixed(_ value: Int64, decimals: Int) -> String {
  var digits = String(value.magnitude)
  if digits.count <= decimals { digits = String(repeating: "0", count: decimals + 1 - digits.count) + digits }
  let point = decimals == 0 ? "" : "."
  return (value < 0 ? "-" : "") + digits.dropLast(decimals) + point + digits.suffix(decimals)
}

/// The pieces of Prometheus' text format (0.0.4).
enum PrometheusText {
  static func line(_ name: String, _ labels: String, _ value: String) -> String {
    labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
  }

  /// `[a-zA-Z_:][a-zA-Z0-9_:]*`, ending in `suffix`.
  static func name(_ label: String, suffix: String) -> String {
    let name = identifier(label)
    return suffix.isEmpty || name.hasSuffix(suffix) ? name : name + suffix
  }

  private static func identifier(_ text: String) -> String {
    let name = String(text.unicodeScalars.map { isAllowed($0) ? Character($0) : "_" })
    return name.isEmpty || name.first?.isNumber == true ? "_" + name : name
  }

  private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "A"..."Z", "0"..."9", "_": true
    default: false
    }
  }

  /// `name="value",…`, by name.
  static func labels(_ dimensions: [(String, String)]) -> String {
    dimensions.map { (identifier($0.0), $0.1) }.sorted { $0.0 < $1.0 }
      .map { "\($0)=\"\(escaped($1, quotes: true))\"" }.joined(separator: ",")
  }

  /// Whether labels, as ``labels(_:)`` gives them, have one of this name. No value has a quote without a backslash.
  static func has(_ name: String, in labels: String) -> Bool { ",\(labels)".contains(",\(name)=\"") }

  static func help(_ text: String) -> String { escaped(text, quotes: false) }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\"" where quotes: result += "\\\""
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
    return Int64(exactly: value).map { "\($0)" } ?? "\(value)"
  }
}

/// A piece of a page. Text gets into it escaped only.
struct HTML: ExpressibleByStringInterpolation {
  private(set) var source: String

  init(stringLiteral source: String) { self.source = source }
  init(stringInterpolation: Interpolation) { source = stringInterpolation.source }
  init(joining parts: [HTML]) { source = parts.map(\.source).joined() }

  struct Interpolation: StringInterpolationProtocol {
    fileprivate var source = ""
    init(literalCapacity: Int, interpolationCount: Int) { source.reserveCapacity(literalCapacity * 2) }
    mutating func appendLiteral(_ literal: String) { source += literal }
    mutating func appendInterpolation(_ part: HTML) { source += part.source }
    mutating func appendInterpolation(_ parts: [HTML]) { for part in parts { source += part.source } }
    mutating func appendInterpolation(_ number: Int) { source += "\(number)" }
    mutating func appendInterpolation(_ text: String) { source += HTML.escaped(text) }
  }

  static func + (a: HTML, b: HTML) -> HTML { HTML(joining: [a, b]) }

  /// Also for attributes in quotes. What could turn the text around is made visible.
  static func escaped(_ text: String) -> String {
    var result = ""
    // By scalars, as a browser reads: one that stands before another may make one character with a "<".
    for scalar in TextTable.printable(text).unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "'": result += "&#39;"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

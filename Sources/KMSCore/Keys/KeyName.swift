/// Name of a key, such as `customer-pii`: 1 to 64 of `a-z 0-9 . _ -`, beginning with a letter or digit.
///
/// Each name has any number of ``KeyVersion``s.
public struct KeyName: Sendable, Hashable, Comparable, Codable, CustomStringConvertible {
  /// The name itself.
  public let description: String

  /// - Throws: ``KMSError/Code/invalidInput`` when the text is no key name.
  public init(_ text: String) throws {
    guard Self.isValid(text) else {
      throw KMSError(
        .invalidInput, "'\(text.prefix(80))' is not a key name",
        advice: "Use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit.")
    }
    description = text
  }

  /// Whether ``init(_:)`` takes the text.
  public static func isValid(_ text: String) -> Bool {
    let bytes = text.utf8
    guard (1...64).contains(bytes.count), let first = bytes.first, isLetterOrDigit(first) else { return false }
    return bytes.allSatisfy { isLetterOrDigit($0) || $0 == 0x2E || $0 == 0x5F || $0 == 0x2D }
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
  }

  public static func < (a: KeyName, b: KeyName) -> Bool {
    a.description.utf8.lexicographicallyPrecedes(b.description.utf8)
  }

  public init(from decoder: any Decoder) throws {
    try self.init(decoder.singleValueContainer().decode(String.self))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

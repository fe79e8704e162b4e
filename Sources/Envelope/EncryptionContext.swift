internal import KMSCore

/// What the data is (tenant, table, row …): pairs that are bound to a message and never stored in it.
///
/// Encoded as a deterministic CBOR map (RFC 8949, 4.2.1). Values are taken as bytes: two spellings that Unicode
/// calls equal are two values.
public struct EncryptionContext: Sendable, Hashable {
  /// No pairs.
  public static let empty = EncryptionContext(names: [], encoded: [])

  /// The names, in encoded order.
  public let names: [String]
  /// The CBOR map; no bytes at all for the empty context.
  public let encoded: [UInt8]
  /// What tells this one from others in what is watched; nil for the empty context. Made here, as one context most often
  /// is many fields'.
  package let tag: UInt64?

  static let largestCount = 64
  static let largestSize = 8192

  private init(names: [String], encoded: [UInt8]) {
    self.names = names
    self.encoded = encoded
    tag = encoded.isEmpty ? nil : ContextTag.of(encoded)
  }

  /// - Parameter pairs: 64 at most, 8 KiB encoded at most. Names are 1 to 64 of `a-z 0-9 . _ -`, each once.
  /// - Throws: ``KMSError/Code/invalidInput``, naming the rule.
  public init(_ pairs: [(name: String, value: String)]) throws {
    guard !pairs.isEmpty else {
      self = .empty
      return
    }
    guard pairs.count <= Self.largestCount else {
      throw Self.invalid("it has \(pairs.count) pairs", "Allowed are \(Self.largestCount) at most.")
    }
    var encodedPairs: [(name: String, key: [UInt8], value: String)] = []
    for (name, value) in pairs {
      guard Self.isName(name) else {
        throw Self.invalid("'\(name.prefix(64))' is no name", "Use 1 to 64 of a-z, 0-9, '.', '_' and '-'.")
      }
      var key = CBORWriter(capacity: name.utf8.count + 2)
      key.text(name)
      encodedPairs.append((name, key.bytes, value))
    }
    encodedPairs.sort { $0.key.lexicographicallyPrecedes($1.key) }
    for (pair, next) in zip(encodedPairs, encodedPairs.dropFirst()) where pair.key == next.key {
      throw Self.invalid("'\(pair.name)' is there twice", "Give each name once.")
    }
    var map = CBORWriter(capacity: 256)
    map.head(.map, pairs.count)
    for pair in encodedPairs {
      map.raw(pair.key)
      map.text(pair.value)
    }
    guard map.bytes.count <= Self.largestSize else {
      throw Self.invalid("it has \(map.bytes.count) bytes", "Allowed are \(Self.largestSize) at most.")
    }
    self.init(names: encodedPairs.map(\.name), encoded: map.bytes)
  }

  private static func isName(_ text: String) -> Bool {
    (1...64).contains(text.utf8.count)
      && text.utf8.allSatisfy { byte in
        (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x2E || byte == 0x5F || byte == 0x2D
      }
  }

  private static func invalid(_ problem: String, _ advice: String) -> KMSError {
    KMSError(.invalidInput, "the encryption context is not allowed: \(problem)", advice: advice)
  }
}

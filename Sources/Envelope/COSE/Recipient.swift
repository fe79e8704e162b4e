internal import CryptoPrimitives
public import KMSCore

/// One wrapped copy of a message's content key, and the key version that opens it (COSE_recipient, RFC 9052, 5.1).
public struct Recipient: Sendable, Hashable {
  /// The KEK's id. Not authenticated: it only looks a key up.
  public let kid: KeyVersionID
  /// The content key as the provider wrapped it.
  public let wrapped: WrappedKey

  /// `kid` is the key version that wrapped it.
  public init(kid: KeyVersionID, wrapped: WrappedKey) {
    self.kid = kid
    self.wrapped = wrapped
  }

  /// Whether it opens with the encryption context alone that it was made with.
  package var bindsContext: Bool { wrapped.algorithm == .a256GCM }

  static let largestKey = 1024

  func write(to writer: inout CBORWriter) {
    writer.head(.array, 3)
    if wrapped.algorithm == .a256GCM {
      writer.byteString(Self.protectedGCM)
      writer.head(.map, 2)
      writeLabel(4, to: &writer)
      writer.integer(5)
      writer.byteString(wrapped.iv)
    } else {
      writer.byteString([])
      writer.head(.map, 2)
      writer.integer(1)
      writer.integer(wrapped.algorithm.rawValue)
      writeLabel(4, to: &writer)
    }
    writer.byteString(wrapped.bytes)
  }

  private func writeLabel(_ label: Int, to writer: inout CBORWriter) {
    writer.integer(label)
    writer.byteString(kid.bytes)
  }

  static let protectedGCM: [UInt8] = [0xA1, 0x01, 0x03]

  init(from reader: inout CBORReader) throws {
    try reader.expect(.array, 3, "a recipient of three parts")
    let start = reader.offset
    let protected = try reader.byteString("a recipient's protected header", 0...16)
    guard protected.isEmpty || protected == Self.protectedGCM else {
      throw reader.malformed("a recipient's protected header is not {1: 3}", at: start)
    }
    try reader.expect(.map, 2, "a recipient's header of two labels")
    var algorithm = WrapAlgorithm.a256GCM
    if protected.isEmpty {
      try reader.expect(.unsigned, 1, "a recipient's algorithm")
      let position = reader.offset
      algorithm = WrapAlgorithm(rawValue: try reader.integer("an algorithm"))
      guard [.a256KW, .rsaOAEP256, .rsaOAEPSHA1].contains(algorithm) else {
        throw reader.malformed("\(algorithm) is no key wrap of this format", at: position)
      }
    }
    try reader.expect(.unsigned, 4, "a recipient's kid")
    kid = try KeyVersionID(reader.byteString("a kid", 1...64))
    var iv: [UInt8] = []
    if !protected.isEmpty {
      try reader.expect(.unsigned, 5, "a recipient's IV")
      iv = try reader.byteString("an IV", AESGCM.ivSize...AESGCM.ivSize)
    }
    let lengths =
      switch algorithm {
      case .a256KW: 40...40
      case .a256GCM: 48...48
      default: 128...Self.largestKey
      }
    wrapped = WrappedKey(algorithm: algorithm, iv: iv, bytes: try reader.byteString("a wrapped key", lengths))
  }
}

/// SHA-256 thumbprint of a symmetric COSE_Key (RFC 9679).
public enum KeyThumbprint {
  /// - Parameter key: 32 bytes. What has another length is no content key, and has the name of none.
  /// - Returns: 32 bytes: SHA-256 of the deterministic CBOR `{1: 4, -1: key}`.
  public static func of(_ key: borrowing SecretBytes) -> [UInt8] {
    key.withBytes { SHA256.digest(prefix: [0xA2, 0x01, 0x04, 0x20, 0x58, UInt8(truncatingIfNeeded: $0.count)], $0) }
  }
}

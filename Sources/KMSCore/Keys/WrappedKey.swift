/// COSE algorithm number (IANA registry "COSE Algorithms") by which a key was wrapped.
public struct WrapAlgorithm: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }

  /// AES Key Wrap (RFC 3394) with a 256-bit KEK.
  public static let a256KW = WrapAlgorithm(rawValue: -5)
  /// AES-256-GCM.
  public static let a256GCM = WrapAlgorithm(rawValue: 3)
  /// RSAES-OAEP with SHA-256 (RFC 8230).
  public static let rsaOAEP256 = WrapAlgorithm(rawValue: -41)
  /// RSAES-OAEP with SHA-1 (RFC 8230). Only on request.
  public static let rsaOAEPSHA1 = WrapAlgorithm(rawValue: -40)

  public var description: String {
    switch self {
    case .a256KW: "A256KW"
    case .a256GCM: "A256GCM"
    case .rsaOAEP256: "RSAES-OAEP w/ SHA-256"
    case .rsaOAEPSHA1: "RSAES-OAEP w/ SHA-1"
    default: "COSE algorithm \(rawValue)"
    }
  }
}

/// A key as a provider wrapped it.
public struct WrappedKey: Sendable, Hashable {
  /// How it was wrapped.
  public let algorithm: WrapAlgorithm
  /// 12 bytes for A256GCM, else empty.
  public let iv: [UInt8]
  /// 40 bytes for A256KW of a 32-byte key, 48 (ciphertext and tag) for A256GCM, the modulus' length for RSA.
  public let bytes: [UInt8]

  /// `iv` is empty but for A256GCM.
  public init(algorithm: WrapAlgorithm, iv: [UInt8] = [], bytes: [UInt8]) {
    self.algorithm = algorithm
    self.iv = iv
    self.bytes = bytes
  }
}

public import Envelope
internal import KMSCore

/// One of many values to encrypt or decrypt, and what it is.
public struct Field: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
  /// Plaintext (1 MiB at most), or what encryption gave.
  public var bytes: [UInt8]
  /// What the data is (table, column, row …). Decryption needs the same.
  public var context: EncryptionContext

  /// See the properties.
  public init(_ bytes: [UInt8], context: EncryptionContext = .empty) {
    self.bytes = bytes
    self.context = context
  }

  /// A string's UTF-8 bytes.
  public init(_ text: String, context: EncryptionContext = .empty) {
    self.init(Array(text.utf8), context: context)
  }

  /// How long it is, and never what it holds.
  public var description: String { "field of \(bytes.count) bytes" }
  /// The same.
  public var debugDescription: String { description }
}

/// What a run of bytes begins like. Only its parser knows whether it is whole.
public enum EnvelopeKind: String, Sendable {
  /// Self-contained (section 1).
  case field
  /// A wrapped shared key (section 2).
  case keyBlob = "key-blob"
  /// Under a shared DEK, or directly under a provider's key (sections 3 and 5).
  case encrypt0
  /// A file with header and body (section 4).
  case file

  /// Looks at the first few bytes; nil when they begin no envelope.
  public static func detect(_ bytes: [UInt8]) -> EnvelopeKind? {
    if bytes.starts(with: FileHeader.magic) { return .file }
    if bytes.starts(with: [0xD0, 0x83]) { return .encrypt0 }
    guard bytes.starts(with: [0xD8, 0x60, 0x84]) else { return nil }
    // The protected header's content type tells a key blob from a field.
    return bytes.dropFirst(3).starts(with: [0x58, 0x29, 0xA3, 0x01, 0x03, 0x03, 0x18, 0x65]) ? .keyBlob : .field
  }
}

internal import Envelope
internal import KMSCore

/// A content key that a provider has unwrapped.
final class OpeningKey: HotKey {
  typealias Tag = DataKeys.Alike

  let opener: FieldOpener
  /// Which unwrapped it, in the state that it had then.
  let version: KeyVersion

  init(opener: FieldOpener, version: KeyVersion) {
    self.opener = opener
    self.version = version
  }

  func makeOwn(for fields: DataKeys.Alike) throws -> OwnOpeningKey {
    OwnOpeningKey(version, try opener.makeOwn(), fields)
  }
}

/// An opening key for one caller at a time.
final class OwnOpeningKey: Sendable {
  /// Which unwrapped it, in the state that it had then.
  let version: KeyVersion
  private let opener: OwnFieldOpener
  private let fields: DataKeys.Alike

  fileprivate init(_ version: KeyVersion, _ opener: OwnFieldOpener, _ fields: DataKeys.Alike) {
    self.version = version
    self.opener = opener
    self.fields = fields
  }

  /// The parts of a message, if it is one of those that the key is known to open.
  func parts(of message: Span<UInt8>, context: EncryptionContext) -> FieldParts? {
    fields.parts(of: message, context)
  }

  func open(_ message: Span<UInt8>, _ parts: FieldParts, context: EncryptionContext) throws -> [UInt8] {
    try opener.open(message, parts, context: context)
  }
}

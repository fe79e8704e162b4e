internal import Envelope
internal import KMSCore

/// A content key that a provider has unwrapped.
final class OpeningKey: HotKey {
  typealias Tag = DataKeys.Frame

  let opener: FieldOpener
  /// Which unwrapped it, in the state that it had then.
  let version: KeyVersion

  init(opener: FieldOpener, version: KeyVersion) {
    self.opener = opener
    self.version = version
  }

  func makeOwn() throws -> OwnOpeningKey { OwnOpeningKey(version, try opener.makeOwn()) }
}

/// An opening key for one caller at a time.
final class OwnOpeningKey: Sendable {
  /// Which unwrapped it, in the state that it had then.
  let version: KeyVersion
  private let opener: OwnFieldOpener

  fileprivate init(_ version: KeyVersion, _ opener: OwnFieldOpener) {
    self.version = version
    self.opener = opener
  }

  func open(_ parts: FieldParts, context: EncryptionContext) throws -> [UInt8] {
    try opener.open(parts, context: context)
  }
}

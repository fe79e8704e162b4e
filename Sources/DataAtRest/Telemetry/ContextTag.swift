internal import Envelope
internal import KMSCore

extension Access {
  /// Work on data of this context.
  init(principal: String?, context: EncryptionContext) {
    self.init(principal: principal, contextNames: context.names)
    contextTag = context.tag
  }
}

extension Access {
  /// The same work on data of this context.
  mutating func take(_ context: EncryptionContext) {
    contextNames = context.names
    contextTag = context.tag
  }
}

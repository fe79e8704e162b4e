internal import AccessLog
internal import CryptoPrimitives
internal import Envelope
internal import KMSCore
internal import Telemetry

/// Short fields under content keys that this processor used lately, where the log sums up and nobody traces: nothing has
/// to be waited for. Nil whenever something is not so, and nothing was done then: the usual way does it, and says what is
/// wrong if something is.
extension DataAtRestManager {
  // Longer ones do not feel the rest.
  private static let longest = 4096

  func encryptQuickly(
    _ plaintext: [UInt8], context: EncryptionContext, partition: String?, key: KeyName?, principal: String?
  ) -> [UInt8]? {
    guard counter != nil, plaintext.count <= Self.longest, !Task.isCancelled else { return nil }
    let (limits, name) = withConfiguration { config in
      let isOn = config.kmsEncryptionEnabled && config.envelopeEncryptionEnabled
      return (isOn ? partition == nil ? config.cache : config.sharedDEKs : nil, key ?? config.kmsKeyID)
    }
    guard let limits, plaintext.count <= limits.maxBytes else { return nil }
    let start = dataKeys.now()
    guard !tracers.mayTrace(at: start) else { return nil }
    let work = QuickWork(principal: principal ?? Access.currentPrincipal, contextNames: context.names)
    guard work.principal != nil || !reporter.requiresPrincipal else { return nil }
    let share = DataKeys.Share(
      key: name, partition: partition,
      context: partition == nil && limits.partition == .context ? context.encoded : nil)
    func seal(_ key: OwnSealingKey) -> [UInt8]? {
      guard key.isFor(share, context), key.take(bytes: plaintext.count) else { return nil }
      guard let sealed = try? key.seal(plaintext.span, context: context),
        counter?.count(.encrypt, under: key.version, work, nanoseconds: dataKeys.now() - start) == true
      else {
        key.putBack(bytes: plaintext.count)
        return nil
      }
      return sealed
    }
    return partition == nil
      ? dataKeys.sealing.quickly(share.hash, at: start, seal)
      : dataKeys.sharedSealing.quickly(share.hash, at: start, seal)
  }

  func decryptQuickly(
    _ message: [UInt8], context: EncryptionContext, allowCompromised: Bool, principal: String?
  ) -> [UInt8]? {
    guard counter != nil, message.count <= Self.longest, !Task.isCancelled, let hint = FieldHint(message.span)
    else { return nil }
    let (isOn, least) = withConfiguration { config in
      (config.kmsEncryptionEnabled && (hint.isShared || config.cache != nil), config.minUnwrapVersion)
    }
    guard isOn else { return nil }
    let start = dataKeys.now()
    guard !tracers.mayTrace(at: start) else { return nil }
    let work = QuickWork(
      principal: principal ?? Access.currentPrincipal, contextNames: context.names, contextTag: context.tag)
    guard work.principal != nil || !reporter.requiresPrincipal else { return nil }
    func open(_ key: OwnOpeningKey) -> [UInt8]? {
      guard let parts = key.parts(of: message.span, context: context),
        mayOpen(key.version, allowCompromised: allowCompromised, least),
        let plaintext = try? key.open(message.span, parts, context: context),
        counter?.count(.decrypt, under: key.version, work, nanoseconds: dataKeys.now() - start) == true
      else { return nil }
      return plaintext
    }
    return hint.isShared
      ? dataKeys.sharedOpening.quickly(hint.hash, at: start, open)
      : dataKeys.opening.quickly(hint.hash, at: start, open)
  }
}

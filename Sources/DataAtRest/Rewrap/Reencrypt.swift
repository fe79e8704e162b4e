internal import AccessLog
public import Envelope
public import KMSCore
public import SystemPackage

/// Reencrypt: a new content key and a new body, for the case that a KEK or a content key leaked. A copy that somebody
/// kept still opens with what leaked.
extension DataAtRestManager {
  /// Encrypts a field anew, under the current version of its key or of another.
  ///
  /// Versions that are marked compromised are used: getting data away from them is what it is for.
  public func reencrypt(
    _ message: [UInt8], context: EncryptionContext = .empty, key: KeyName? = nil, principal: String? = nil
  ) async throws -> [UInt8] {
    let access = Access(principal: principal, context: context)
    return try await logged(.reencrypt, access) { event in
      let config = try enabledConfiguration()
      guard EnvelopeKind.detect(message) != .keyBlob else { throw Self.sharedKeyBlob() }
      let plaintext = try await plaintext(of: message, context: context, access: access, event: &event)
      guard let name = key ?? event.key else { throw Self.sharedKeyBlob() }
      guard EnvelopeKind.detect(message) != .encrypt0 || config.envelopeEncryptionEnabled else {
        return try await encryptDirectly(
          plaintext.unprotectedCopy(), context: context, key: name, access: access, event: &event)
      }
      let cek = SecretBytes.random(count: 32)
      let recipients = try await recipients(for: cek, key: name, context: context, access: access, event: &event)
      return try plaintext.withBytes {
        try EncryptMessage.seal($0, as: .field, context: context, cek: cek, recipients: recipients)
      }.encoded()
    }
  }

  private func plaintext(
    of message: [UInt8], context: EncryptionContext, access: Access, event: inout AccessEvent
  ) async throws -> SecretBytes {
    guard
      let shared = try await sharedKey(of: message, allowCompromised: true, access: access, event: &event)
    else {
      return try await open(message, context: context, allowCompromised: true, access: access, event: &event)
    }
    let bytes = try shared.key.opener.open(message.span, shared.parts, context: context)
    return SecretBytes(copying: bytes.span)
  }

  /// Encrypts a file anew, segment by segment. The new file takes the old one's place when it is whole.
  ///
  /// - Parameters:
  ///   - isDryRun: everything is done, but the file stays as it is.
  ///   - progress: called with the number of plaintext bytes done since the call before.
  public func reencryptFile(
    _ path: FilePath, context: EncryptionContext = .empty, key: KeyName? = nil, isDryRun: Bool = false,
    principal: String? = nil,
    progress: @escaping @Sendable (Int) -> Void = { _ in }
  ) async throws {
    let access = Access(principal: principal, context: context)
    try await logged(.reencrypt, access) { event in
      _ = try enabledConfiguration()
      let old = try await fileJob { _ in
        if !isDryRun { try HeaderJournal(for: path).finish() }
        return try FileHeader(parsing: EnvelopeFile.header(of: path))
      }
      let oldCEK = try await contentKey(
        of: old.keyBlob, context: context, allowCompromised: true, access: access, event: &event)
      let oldKey = Held(try ContentKey(parsing: old.keyBlob.open(with: oldCEK, context: context)))
      let newKey = Held(ContentKey.random(for: .fileBody))
      guard let name = key ?? event.key else { throw Self.sharedKeyBlob() }
      let header = try await makeHeader(
        for: newKey.value, key: name, context: context, size: max(old.size, FileHeader.defaultSize), access: access,
        event: &event)
      let file = try await fileJob { checkCancellation in
        try EnvelopeFile.write(inPlaceOf: path, isDryRun: isDryRun) { source, target, _ in
          guard try FileStream.readHeader(from: source).0 == old else { throw HeaderJournal.changedMeanwhile(path) }
          _ = try target.writeAll(header.encoded())
          try FileStream.reseal(from: source, oldKey.value, to: target, newKey.value, context: context) { count in
            progress(count)
            try checkCancellation()
          }
        }
      }
      let newer = try await newerHeader(
        than: header, canChange: true, for: newKey.value, key: name, context: context, access: access, event: &event)
      try await fileJob { _ in try file.commit(start: newer?.encoded()) }
    }
  }

  /// Encrypts everything in a source anew.
  ///
  /// - Parameters:
  ///   - key: the key to encrypt under; each envelope's own when nil.
  ///   - progress: called after each batch, with the number of items in it and the share that is done.
  /// - Throws: ``KMSError/Code/accessLogUnavailable``, and what makes the source as a whole unusable.
  public func reencrypt<Source: RewrapSource>(
    _ source: inout Source, key: KeyName? = nil, with options: BulkOptions = BulkOptions(),
    progress: (_ items: Int, _ fraction: Double?) -> Void = { _, _ in }
  ) async throws -> BulkReport {
    try await run(&source, options, progress) { batch in
      batch
    } work: { [self] batch in
      try await inParallel(batch, jobs: options.jobs) { [self] item in
        let bytes = try item.envelope.get()
        guard EnvelopeKind.detect(bytes) == .file else {
          return BulkOutcome.replace(try await reencrypt(bytes, context: item.context, key: key))
        }
        guard let path = item.file else {
          throw KMSError(.notSupported, "the body of this file is not here", advice: "Name the file itself.")
        }
        try await reencryptFile(path, context: item.context, key: key, isDryRun: options.isDryRun)
        return .done
      }.map { result in
        do { return try result.get() } catch { return .failed(error.asKMSError) }
      }
    }
  }

  private static func sharedKeyBlob() -> KMSError {
    KMSError(
      .notSupported, "this is a shared key: the fields under it must be encrypted anew, too",
      advice: "Make a new shared key and encrypt the fields under it.")
  }
}

extension AccessEvent.Operation {
  static let reencrypt = Self(rawValue: "reencrypt")
}

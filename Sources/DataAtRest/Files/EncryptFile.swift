internal import AccessLog
internal import DurableFiles
public import Envelope
public import KMSCore
internal import SystemPackage

/// Files of any size, in constant memory (docs/envelope-format.md, section 4).
extension DataAtRestManager {
  /// Encrypts a file, or a stream up to its end.
  ///
  /// - Parameters:
  ///   - progress: called with the number of plaintext bytes done since the call before.
  /// - Throws: ``KMSError/Code/outputExists``, ``KMSError/Code/fileFailed``, …; no output remains then.
  public func encryptFile(
    from source: FileEndpoint, to destination: FileEndpoint, context: EncryptionContext = .empty,
    key: KeyName? = nil, principal: String? = nil, progress: @escaping @Sendable (Int) -> Void = { _ in }
  ) async throws {
    let access = Access(principal: principal, context: context)
    try await logged(.encrypt, access) { event in
      let config = try enabledConfiguration()
      try destination.checkIsFree()
      guard config.envelopeEncryptionEnabled else {
        let name = key ?? config.kmsKeyID
        let plaintext = try await fileJob { _ in
          do { return try source.readWhole(limit: directEncryptionLimit) } catch let error as KMSError
            where error.code == .limitExceeded
          {
            throw Self.tooLongToEncryptDirectly("has more", name)
          }
        }
        let message = try await encryptDirectly(
          plaintext, context: context, key: name, access: access, event: &event)
        try await fileJob { _ in try destination.write(message) }
        return
      }
      let held = Held(ContentKey.random(for: .fileBody))
      let name = key ?? config.kmsKeyID
      let header = try await makeHeader(for: held.value, key: name, context: context, access: access, event: &event)
      let file = try await fileJob { checkCancellation in
        try source.reading { input, checkLength in
          try destination.begin { output in
            _ = try output.writeAll(header.encoded())
            try FileStream.seal(from: input, to: output, key: held.value, context: context) { count in
              progress(count)
              try checkCancellation()
            }
            try checkLength()
          }
        }
      }
      let newer = try await newerHeader(
        than: header, canChange: destination.isPath, for: held.value, key: name, context: context, access: access,
        event: &event)
      try await fileJob { _ in try file.commit(start: newer?.encoded()) }
    }
  }

  /// Opens a file. Each segment is authenticated before it is written; a file output appears only when all were.
  public func decryptFile(
    from source: FileEndpoint, to destination: FileEndpoint, context: EncryptionContext = .empty,
    principal: String? = nil, allowCompromised: Bool = false,
    progress: @escaping @Sendable (Int) -> Void = { _ in }
  ) async throws {
    let access = Access(principal: principal, context: context)
    try await logged(.decrypt, access) { event in
      _ = try enabledConfiguration()
      try destination.checkIsFree()
      // A pipe is read once: what stands after the header must come from the same descriptor.
      let opened = try source.open()
      defer { if opened.isOurs { try? opened.descriptor.close() } }
      let input = opened.descriptor
      if case .path(let path, _) = source { try await fileJob { _ in try HeaderJournal(for: path).check() } }
      let start = try await fileJob { _ in
        try FileFailure.mapping("read", source.name) { try input.readFully(upTo: 16) }
      }
      guard EnvelopeKind.detect(start).map({ $0 == .file }) ?? true else {
        try await decryptSmall(
          input, start, to: destination, context: context, allowCompromised: allowCompromised, access: access,
          event: &event)
        return
      }
      let header = try await fileJob { _ in
        try FileFailure.mapping("read", source.name) { try FileStream.readHeader(from: input, after: start).0 }
      }
      let cek = try await contentKey(
        of: header.keyBlob, context: context, allowCompromised: allowCompromised, access: access, event: &event)
      let contentKey = try ContentKey(parsing: header.keyBlob.open(with: cek, context: context))
      let held = Held(contentKey)
      try await fileJob { checkCancellation in
        try destination.writing { output in
          try FileStream.open(from: input, to: output, key: held.value, context: context) { count in
            progress(count)
            try checkCancellation()
          }
        }
      }
    }
  }
}

extension DataAtRestManager {
  /// A field, or a message that a provider encrypted itself, that stands in a file.
  private func decryptSmall(
    _ input: FileDescriptor, _ start: [UInt8], to destination: FileEndpoint, context: EncryptionContext,
    allowCompromised: Bool, access: Access, event: inout AccessEvent
  ) async throws {
    let message = try await fileJob { _ in
      try start + readAll(input, limit: 2 * Self.fieldLimit, name: "the message")
    }
    let plaintext = Held(
      try await open(
        message, context: context, allowCompromised: allowCompromised, access: access, event: &event))
    try await fileJob { _ in
      try destination.write(plaintext.value.unprotectedCopy())
    }
  }
}

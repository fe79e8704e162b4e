internal import AccessLog
internal import DurableFiles
public import Envelope
public import KMSCore
public import SystemPackage

/// Where a file's bytes come from or go to.
public enum FileEndpoint: Sendable {
  /// A file. As an output it appears under its name only when it is whole, with 0600 unless it replaces another.
  case path(FilePath, replacing: Bool = false)
  /// An open descriptor, such as standard output. What was written before a failure stays written.
  case descriptor(FileDescriptor)
}

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
      let contentKey = ContentKey.random(for: .fileBody)
      let header = try await makeHeader(
        for: contentKey, key: key ?? config.kmsKeyID, context: context, access: access, event: &event
      ).encoded()
      let held = Held(contentKey)
      try await fileJob { checkCancellation in
        try source.reading { input, checkLength in
          try destination.writing { output in
            _ = try output.writeAll(header)
            try FileStream.seal(from: input, to: output, key: held.value, context: context) { count in
              progress(count)
              try checkCancellation()
            }
            try checkLength()
          }
        }
      }
    }
  }

  /// A header that holds `contentKey`, wrapped for the current recipients.
  func makeHeader(
    for contentKey: borrowing ContentKey, key: KeyName, context: EncryptionContext,
    size: Int = FileHeader.defaultSize, access: Access, event: inout AccessEvent
  ) async throws -> FileHeader {
    let cek = SecretBytes.random(count: 32)
    let recipients = try await recipients(for: cek, key: key, context: context, access: access, event: &event)
    let plaintext = contentKey.encoded()
    let keyBlob = try plaintext.withBytes { span in
      try EncryptMessage.seal(span, as: .keyBlob, context: context, cek: cek, recipients: recipients)
    }
    return try FileHeader(forNewFile: keyBlob, least: size)
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

extension FileEndpoint {
  /// Writes everything; a file appears only whole.
  package func write(_ bytes: [UInt8]) throws {
    try writing { _ = try $0.writeAll(bytes) }
  }

  func readWhole(limit: Int) throws -> [UInt8] {
    let opened = try open()
    defer { if opened.isOurs { try? opened.descriptor.close() } }
    return try FileFailure.mapping("read", name) {
      try readAll(opened.descriptor, limit: limit, name: name.string)
    }
  }

  func open() throws -> (descriptor: FileDescriptor, isOurs: Bool) {
    switch self {
    case .descriptor(let descriptor): (descriptor, false)
    case .path(let path, _):
      (
        try FileFailure.mapping("read", path) {
          let descriptor = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
          if try FileStatus(descriptor).isFolder {
            try? descriptor.close()
            throw Errno.isDirectory
          }
          return descriptor
        }, true
      )
    }
  }

  /// - Parameter body: gets the descriptor, and a check that a file is as long as it was when it was opened.
  func reading(_ body: (FileDescriptor, _ checkLength: () throws -> Void) throws -> Void) throws {
    let opened = try open()
    defer { if opened.isOurs { try? opened.descriptor.close() } }
    try FileFailure.mapping("read or write", name) {
      let before = try FileStatus(opened.descriptor)
      try body(opened.descriptor) {
        let after = try FileStatus(opened.descriptor)
        guard opened.isOurs, before.isRegularFile, after.size != before.size else { return }
        throw KMSError(
          .fileFailed, "\(name) had \(before.size) bytes when it was opened and has \(after.size) now",
          advice: "Encrypt it when nobody writes to it, or a copy of it.")
      }
    }
  }

  func writing(_ body: (FileDescriptor) throws -> Void) throws {
    switch self {
    case .descriptor(let descriptor): try FileFailure.mapping("write", name) { try body(descriptor) }
    case .path(let path, let replacing):
      let file = try AtomicFile(path, replacing: replacing)
      try FileFailure.mapping("write", path) { try body(file.descriptor) }
      try file.commit()
    }
  }

  /// Fails before any work is done when the output is there and may not be replaced.
  func checkIsFree() throws {
    guard case .path(let path, replacing: false) = self else { return }
    _ = try AtomicFile(path, replacing: false)
  }

  var name: FilePath {
    switch self {
    case .path(let path, _): path
    case .descriptor(.standardInput): "standard input"
    case .descriptor(.standardOutput): "standard output"
    case .descriptor(let descriptor): FilePath("descriptor \(descriptor.rawValue)")
    }
  }
}

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
    let access = Access(principal: principal, contextNames: context.names)
    try await logged(.encrypt, access) { event in
      let config = try enabledConfiguration()
      guard config.envelopeEncryptionEnabled else {
        throw KMSError(
          .notSupported, "files need envelope encryption",
          advice: "Switch data-at-rest.envelope-encryption-enabled on.")
      }
      try destination.checkIsFree()
      let contentKey = ContentKey.random(for: .fileBody)
      let cek = SecretBytes.random(count: 32)
      let recipients = try await recipients(
        for: cek, key: key ?? config.kmsKeyID, context: context, access: access, event: &event)
      let plaintext = contentKey.encoded()
      let keyBlob = try plaintext.withBytes { span in
        try EncryptMessage.seal(span, as: .keyBlob, context: context, cek: cek, recipients: recipients)
      }
      let header = try FileHeader(keyBlob: keyBlob).encoded()
      let held = Held(contentKey)
      try await fileJob { checkCancellation in
        try source.reading { input in
          try destination.writing { output in
            _ = try output.writeAll(header)
            try FileStream.seal(from: input, to: output, key: held.value, context: context) { count in
              progress(count)
              try checkCancellation()
            }
          }
        }
      }
    }
  }

  /// Opens a file. Each segment is authenticated before it is written; a file output appears only when all were.
  public func decryptFile(
    from source: FileEndpoint, to destination: FileEndpoint, context: EncryptionContext = .empty,
    principal: String? = nil, allowCompromised: Bool = false,
    progress: @escaping @Sendable (Int) -> Void = { _ in }
  ) async throws {
    let access = Access(principal: principal, contextNames: context.names)
    try await logged(.decrypt, access) { event in
      _ = try enabledConfiguration()
      try destination.checkIsFree()
      // A pipe is read once: what stands after the header must come from the same descriptor.
      let opened = try source.open()
      defer { if opened.isOurs { try? opened.descriptor.close() } }
      let input = opened.descriptor
      let header = try await fileJob { _ in try FileStream.readHeader(from: input).0 }
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

extension FileEndpoint {
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

  func reading(_ body: (FileDescriptor) throws -> Void) throws {
    let opened = try open()
    defer { if opened.isOurs { try? opened.descriptor.close() } }
    try FileFailure.mapping("read or write", name) { try body(opened.descriptor) }
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

  private var name: FilePath {
    switch self {
    case .path(let path, _): path
    case .descriptor(let descriptor): FilePath("descriptor \(descriptor.rawValue)")
    }
  }
}

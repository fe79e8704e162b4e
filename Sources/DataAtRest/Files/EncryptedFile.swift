internal import AccessLog
internal import DurableFiles
public import Envelope
internal import KMSCore
public import SystemPackage

/// An encrypted file that is open, to read anywhere in it:
/// ``DataAtRestManager/openFile(_:context:principal:allowCompromised:)`` makes it.
///
/// However large the file is, a read opens the segments of 1 MiB that hold what is wanted and no others. The segment
/// that was read last is kept in memory, and wiped when this goes.
public final class EncryptedFile: Sendable {
  /// Bytes of plaintext. They were found by opening the file's end: a file that was cut or extended is not opened.
  public var count: Int { reader.count }

  private let path: FilePath
  private let descriptor: FileDescriptor
  private let reader: FileBodyReader

  fileprivate init(
    _ path: FilePath, takingOwnershipOf descriptor: FileDescriptor, header: FileHeader, key: borrowing ContentKey,
    context: EncryptionContext
  ) throws {
    reader = try FileFailure.mapping("read", path) {
      try FileBodyReader(of: descriptor, at: header.size, key: key, context: context)
    }
    self.path = path
    self.descriptor = descriptor
  }

  deinit { try? descriptor.close() }

  /// Plaintext from `offset` on: `count` bytes, fewer at the end of the file, and none behind it.
  ///
  /// - Parameters:
  ///   - offset: in bytes, not negative.
  ///   - count: in bytes, not negative.
  /// - Throws: ``KMSError/Code/doesNotOpen`` when a segment in which they are was changed, ….
  public func read(at offset: Int, count: Int) async throws -> [UInt8] {
    try await fileJob { [self] _ in
      try FileFailure.mapping("read", path) { try reader.read(at: offset, count: count) }
    }
  }

  /// Writes what ``read(at:count:)`` would give, in constant memory. A file appears only when it is whole.
  ///
  /// - Parameter progress: called with the number of bytes done since the call before.
  public func decrypt(
    from offset: Int, count: Int, to destination: FileEndpoint,
    progress: @escaping @Sendable (Int) -> Void = { _ in }
  ) async throws {
    try await fileJob { [self] checkCancellation in
      try destination.writing { output in
        try reader.write(from: offset, count: count, to: output) { done in
          progress(done)
          try checkCancellation()
        }
      }
    }
  }
}

extension DataAtRestManager {
  /// Opens an encrypted file to read parts of it. The provider is asked once, now; reads need no provider.
  ///
  /// - Throws: ``KMSError/Code/doesNotOpen``, ``KMSError/Code/malformedEnvelope``, ….
  public func openFile(
    _ path: FilePath, context: EncryptionContext = .empty, principal: String? = nil, allowCompromised: Bool = false
  ) async throws -> EncryptedFile {
    let access = Access(principal: principal, context: context)
    return try await logged(.decrypt, access) { event in
      _ = try enabledConfiguration()
      let descriptor = try FileEndpoint.path(path).open().descriptor
      do {
        let header = try await fileJob { _ in
          try HeaderJournal(for: path).check()
          return try FileFailure.mapping("read", path) {
            let start = try descriptor.readFully(upTo: 16)
            guard EnvelopeKind.detect(start).map({ $0 == .file }) ?? true else {
              throw KMSError(.notSupported, "\(path) is a field, which opens only whole", advice: "Decrypt it whole.")
            }
            return try FileStream.readHeader(from: descriptor, after: start).0
          }
        }
        let cek = try await contentKey(
          of: header.keyBlob, context: context, allowCompromised: allowCompromised, access: access, event: &event)
        let key = Held(try ContentKey(parsing: header.keyBlob.open(with: cek, context: context)))
        return try await fileJob { _ in
          try EncryptedFile(path, takingOwnershipOf: descriptor, header: header, key: key.value, context: context)
        }
      } catch {
        try? descriptor.close()
        throw error
      }
    }
  }
}

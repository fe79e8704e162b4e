internal import AccessLog
internal import DurableFiles
public import Envelope
internal import KMSCore
public import SystemPackage

extension DataAtRestManager {
  /// Gives an encrypted file the recipients that are current now. Only its header changes.
  ///
  /// The new file is made beside the old one (sharing its blocks where the file system can) and takes its place
  /// in one step, so a crash leaves the one or the other.
  /// - Returns: false when there was nothing to do.
  @discardableResult
  public func rewrapFile(
    _ path: FilePath, context: EncryptionContext = .empty, principal: String? = nil
  ) async throws -> Bool {
    let access = Access(principal: principal, contextNames: context.names)
    let header = try await fileJob { _ in
      let descriptor = try FileEndpoint.path(path).open().descriptor
      defer { try? descriptor.close() }
      return try FileStream.readHeader(from: descriptor).0
    }
    guard let keyBlob = try await rewrap(header.keyBlob, context: context, access: access) else { return false }
    let new = try FileHeader(keyBlob: keyBlob, size: header.size).encoded()
    try await fileJob { _ in
      let source = try FileEndpoint.path(path).open().descriptor
      defer { try? source.close() }
      let status = try FileStatus(source)
      let file = try AtomicFile(
        path, permissions: FilePermissions(rawValue: CInterop.Mode(status.mode & 0o777)), replacing: true)
      try FileFailure.mapping("write", path) {
        try copyContent(from: source, to: file.descriptor, count: Int(status.size))
        try writeAll(new, to: file.descriptor, at: 0)
      }
      try file.commit()
    }
    return true
  }
}

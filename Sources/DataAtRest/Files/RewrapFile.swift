internal import AccessLog
internal import Dispatch
internal import DurableFiles
public import Envelope
internal import Glibc
public import KMSCore
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
        path, permissions: FilePermissions(rawValue: CModeT(status.mode & 0o777)), replacing: true)
      try FileFailure.mapping("write", path) {
        try copyAll(from: source, to: file.descriptor, count: Int(status.size))
        var written = 0
        while written < new.count {
          written += try unsafe new[written...].withUnsafeBytes {  // for the call only
            unsafe try file.descriptor.write(toAbsoluteOffset: Int64(written), $0)
          }
        }
      }
      try file.commit()
    }
    return true
  }
}

private typealias CModeT = CInterop.Mode

/// Copies inside the kernel; file systems that can share the blocks.
private func copyAll(from source: FileDescriptor, to target: FileDescriptor, count: Int) throws(Errno) {
  var (input, output, left) = (off_t(0), off_t(0), count)
  while left > 0 {
    let done = unsafe copy_file_range(source.rawValue, &input, target.rawValue, &output, left, 0)  // locals
    if done < 0, errno == EINTR { continue }
    guard done > 0 else { throw done == 0 ? .ioError : Errno(rawValue: errno) }
    left -= done
  }
}

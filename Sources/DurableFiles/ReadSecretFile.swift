package import KMSCore
package import SystemPackage

/// The whole content of a file of at most `limit` bytes, read into locked memory and nowhere else.
///
/// - Throws: ``KMSError/Code/limitExceeded``, ``KMSError/Code/fileNotFound``, ….
package func readSecretFile(_ path: FilePath, limit: Int) throws -> SecretBytes {
  try FileFailure.mapping("read", path) {
    let descriptor = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    defer { try? descriptor.close() }
    let secret = try SecretBytes(capacity: limit + 1) { output throws(any Error) in
      try unsafe output.withUnsafeMutableBufferPointer { buffer, count throws(any Error) in  // within its capacity
        while count < buffer.count {
          let rest = unsafe UnsafeMutableRawBufferPointer(  // within the buffer
            rebasing: UnsafeMutableRawBufferPointer(buffer)[count...])
          let got = try unsafe descriptor.read(into: rest)  // for the call
          if got == 0 { break }
          count += got
        }
      }
    }
    let isTooLong = secret.count > limit
    guard !isTooLong else {
      throw KMSError(
        .limitExceeded, "\(path) holds more than \(limit) bytes", advice: "It is not what is expected here.")
    }
    return secret
  }
}

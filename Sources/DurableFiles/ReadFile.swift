internal import KMSCore
package import SystemPackage

/// The whole content of a file of at most `limit` bytes.
package func readFile(_ path: FilePath, limit: Int) throws -> [UInt8] {
  try FileFailure.mapping("read", path) {
    let descriptor = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    return try descriptor.closeAfter { try readAll(descriptor, limit: limit, name: path.string) }
  }
}

/// Everything up to the end of `descriptor`, which may be a pipe.
package func readAll(_ descriptor: FileDescriptor, limit: Int, name: String) throws -> [UInt8] {
  var content: [UInt8] = []
  let chunk = 65_536
  while true {
    let got = unsafe try [UInt8](unsafeUninitializedCapacity: chunk) { buffer, count in  // read() fills it
      count = unsafe try descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))  // within its capacity
    }
    if got.isEmpty { return content }
    content += got
    guard content.count <= limit else {
      throw KMSError(
        .limitExceeded, "\(name) holds more than \(limit) bytes", advice: "It is not what is expected here.")
    }
  }
}

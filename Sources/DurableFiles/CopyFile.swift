internal import CLinux
internal import Glibc
package import SystemPackage

/// Copies `count` bytes from the start of one file to the start of another inside the kernel; file systems that
/// can share the blocks (XFS, Btrfs) copy nothing.
package func copyContent(from source: FileDescriptor, to target: FileDescriptor, count: Int) throws(Errno) {
  var (input, output, left) = (off_t(0), off_t(0), count)
  while left > 0 {
    let done = unsafe linux_copy_file_range(source.rawValue, &input, target.rawValue, &output, left)  // locals
    if done < 0, errno == EINTR { continue }
    guard done > 0 else { throw done == 0 ? .ioError : Errno(rawValue: errno) }
    left -= done
  }
}

/// Writes all of `bytes` at `offset`.
package func writeAll(_ bytes: [UInt8], to target: FileDescriptor, at offset: Int) throws {
  var written = 0
  while written < bytes.count {
    written += try unsafe bytes[written...].withUnsafeBytes {  // for the call only
      unsafe try target.write(toAbsoluteOffset: Int64(offset + written), $0)  // for the call
    }
  }
}

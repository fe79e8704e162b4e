internal import CLinux
internal import Glibc
package import SystemPackage

/// A pipe whose ends no process inherits that another thread starts meanwhile: it would hold them open.
package func uninheritedPipe() throws(Errno) -> (readEnd: FileDescriptor, writeEnd: FileDescriptor) {
  var ends: [CInt] = [0, 0]
  guard unsafe linux_pipe(&ends) == 0 else { throw Errno(rawValue: errno) }  // room for two
  return (FileDescriptor(rawValue: ends[0]), FileDescriptor(rawValue: ends[1]))
}

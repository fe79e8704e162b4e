internal import Glibc
package import SystemPackage

/// What a folder holds: names in byte order, without `.` and `..`.
package func folderContents(_ path: FilePath) throws -> [FilePath.Component] {
  guard let folder = unsafe opendir(path.string) else {
    throw FileFailure.error("list", path, Errno(rawValue: errno))
  }
  defer { unsafe _ = closedir(folder) }  // the stream is this function's own
  var names: [String] = []
  while true {
    errno = 0
    guard let entry = unsafe readdir(folder) else {
      guard errno == 0 else { throw FileFailure.error("list", path, Errno(rawValue: errno)) }
      break
    }
    // d_name ends with a zero and lives until the next readdir
    let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
      unsafe String(cString: UnsafeRawPointer(pointer).assumingMemoryBound(to: CChar.self))
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names.sorted().compactMap { FilePath.Component($0) }
}

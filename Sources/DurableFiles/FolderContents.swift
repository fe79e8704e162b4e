internal import Glibc
package import SystemPackage

/// What a folder holds: names in byte order, without `.` and `..`.
package func folderContents(_ path: FilePath) throws -> [String] {
  guard let folder = unsafe opendir(path.string) else {  // closed below
    throw FileFailure.error("list", path, Errno(rawValue: errno))
  }
  defer { unsafe _ = closedir(folder) }  // the stream is this function's own
  var names: [String] = []
  while true {
    errno = 0
    guard let entry = unsafe readdir(folder) else {  // one thread has the folder
      guard errno == 0 else { throw FileFailure.error("list", path, Errno(rawValue: errno)) }
      break
    }
    // d_name ends with a zero and lives until the next readdir
    let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in  // copied before the next readdir
      unsafe String(cString: UnsafeRawPointer(pointer).assumingMemoryBound(to: CChar.self))  // ends with a zero
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names.sorted()
}

/// How many things that are no folders `path` holds, at any depth; 1 when it is none itself. What cannot be read
/// counts for nothing.
package func countFiles(_ path: FilePath) -> Int {
  guard (try? FileStatus(path, followingLinks: false))?.isFolder == true else { return 1 }
  return ((try? folderContents(path)) ?? []).reduce(0) { $0 + countFiles(path.appending($1)) }
}

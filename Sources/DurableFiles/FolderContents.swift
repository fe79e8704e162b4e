internal import Glibc
package import SystemPackage

/// What a folder holds, for who looks for names of his own: in one that is not UTF-8, what is not is replaced, and no
/// file is found by it.
package func folderContents(_ path: FilePath) throws -> [String] { try folderEntries(path).map(\.string) }

/// What a folder holds: names as they are, in byte order, without `.` and `..`.
package func folderEntries(_ path: FilePath) throws -> [FilePath.Component] {
  guard let folder = unsafe path.withPlatformString({ unsafe opendir($0) }) else {  // closed below
    throw FileFailure.error("list", path, Errno(rawValue: errno))
  }
  defer { unsafe _ = closedir(folder) }  // the stream is this function's own
  var names: [[CChar]] = []
  while true {
    errno = 0
    guard let entry = unsafe readdir(folder) else {  // one thread has the folder
      guard errno == 0 else { throw FileFailure.error("list", path, Errno(rawValue: errno)) }
      break
    }
    // d_name ends with a zero and lives until the next readdir
    let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in  // copied before the next readdir
      let bytes = unsafe UnsafeRawPointer(pointer).assumingMemoryBound(to: CChar.self)  // ends with a zero
      return unsafe Array(UnsafeBufferPointer(start: bytes, count: strlen(bytes) + 1))  // with it
    }
    names.append(name)
  }
  names.sort { unsafe strcmp($0, $1) < 0 }  // arrays that end with a zero, for the call
  return names.compactMap { FilePath.Component(platformString: $0) }.filter { $0.kind == .regular }
}

/// How many things that are no folders `path` holds, at any depth; 1 when it is none itself. What cannot be read
/// counts for nothing.
package func countFiles(_ path: FilePath) -> Int {
  guard (try? FileStatus(path, followingLinks: false))?.isFolder == true else { return 1 }
  return ((try? folderEntries(path)) ?? []).reduce(0) { $0 + countFiles(path.appending($1)) }
}

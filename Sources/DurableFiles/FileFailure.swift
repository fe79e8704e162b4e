package import KMSCore
package import SystemPackage

/// Turns an `Errno` into a ``KMSError`` that says what to do.
package enum FileFailure {
  package static func mapping<T: ~Copyable>(_ verb: String, _ path: FilePath, _ body: () throws -> T) throws -> T {
    do { return try body() } catch let error as Errno { throw Self.error(verb, path, error) }
  }

  package static func error(_ verb: String, _ path: FilePath, _ error: Errno) -> KMSError {
    let (code, advice): (KMSError.Code, String) =
      switch error {
      case .noSuchFileOrDirectory: (.fileNotFound, "Check the path; a folder on the way to it may be missing.")
      case .permissionDenied, .notPermitted, .readOnlyFileSystem:
        (.accessDenied, "Check who owns the file and its folder, and their permissions.")
      case .fileExists: (.outputExists, "Choose another name, or remove it first.")
      case .noSpace: (.fileFailed, "Free some space and run the command again; nothing was changed.")
      case .isDirectory: (.fileFailed, "It is a folder; name a file.")
      default: (.fileFailed, "Nothing was changed; mend the cause and try again.")
      }
    return KMSError(code, "cannot \(verb) \(path): \(error)", advice: advice)
  }
}

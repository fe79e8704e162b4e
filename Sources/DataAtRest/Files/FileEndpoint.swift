internal import DurableFiles
internal import KMSCore
public import SystemPackage

/// Where a file's bytes come from or go to.
public enum FileEndpoint: Sendable {
  /// A file. As an output it appears under its name only when it is whole, with 0600.
  case path(FilePath, replacing: Bool = false)
  /// An open descriptor, such as standard output. What was written before a failure stays written.
  case descriptor(FileDescriptor)
}

extension FileEndpoint {
  /// Writes everything; a file appears only whole.
  package func write(_ bytes: [UInt8]) throws {
    try writing { _ = try $0.writeAll(bytes) }
  }

  func readWhole(limit: Int) throws -> [UInt8] {
    let opened = try open()
    defer { if opened.isOurs { try? opened.descriptor.close() } }
    return try FileFailure.mapping("read", name) {
      try readAll(opened.descriptor, limit: limit, name: name.string)
    }
  }

  func open() throws -> (descriptor: FileDescriptor, isOurs: Bool) {
    switch self {
    case .descriptor(let descriptor): (descriptor, false)
    case .path(let path, _):
      (
        try FileFailure.mapping("read", path) {
          let descriptor = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
          if try FileStatus(descriptor).isFolder {
            try? descriptor.close()
            throw Errno.isDirectory
          }
          return descriptor
        }, true
      )
    }
  }

  /// - Parameter body: gets the descriptor, and a check that a file is as long as it was when it was opened.
  func reading<Result>(
    _ body: (FileDescriptor, _ checkLength: () throws -> Void) throws -> Result
  ) throws -> Result {
    let opened = try open()
    defer { if opened.isOurs { try? opened.descriptor.close() } }
    return try FileFailure.mapping("read or write", name) {
      let before = try FileStatus(opened.descriptor)
      return try body(opened.descriptor) {
        let after = try FileStatus(opened.descriptor)
        guard opened.isOurs, before.isRegularFile, after.size != before.size else { return }
        throw KMSError(
          .fileFailed, "\(name) had \(before.size) bytes when it was opened and has \(after.size) now",
          advice: "Encrypt it when nobody writes to it, or a copy of it.")
      }
    }
  }

  func writing(_ body: (FileDescriptor) throws -> Void) throws { try begin(body).commit() }

  /// Everything is written, and a file has yet to appear under its name.
  func begin(_ body: (FileDescriptor) throws -> Void) throws -> PendingFile {
    switch self {
    case .descriptor(let descriptor):
      try FileFailure.mapping("write", name) { try body(descriptor) }
      return PendingFile(nil)
    case .path(let path, let replacing):
      let file = try AtomicFile(path, replacing: replacing)
      try FileFailure.mapping("write", path) { try body(file.descriptor) }
      return PendingFile(file)
    }
  }

  var isPath: Bool { if case .path = self { true } else { false } }

  /// Fails before any work is done when the output is there and may not be replaced.
  func checkIsFree() throws {
    guard case .path(let path, replacing: false) = self else { return }
    _ = try AtomicFile(path, replacing: false)
  }

  var name: FilePath {
    switch self {
    case .path(let path, _): path
    case .descriptor(.standardInput): "standard input"
    case .descriptor(.standardOutput): "standard output"
    case .descriptor(let descriptor): FilePath("descriptor \(descriptor.rawValue)")
    }
  }
}

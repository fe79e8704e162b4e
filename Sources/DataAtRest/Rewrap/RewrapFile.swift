internal import AccessLog
internal import DurableFiles
public import Envelope
internal import KMSCore
public import SystemPackage

/// How a file is given another header.
public enum FileReplacement: Sendable {
  /// A new file beside the old one, sharing its blocks where the file system can, takes its place in one step.
  case atomic
  /// The header is overwritten where it is, under a journal that the next rewrap finishes after a crash. For files
  /// that are too big to copy, or whose inode must stay.
  case inPlace
}

extension DataAtRestManager {
  /// Gives an encrypted file the recipients that are current now. Only its header changes.
  ///
  /// A crash leaves the old header or the new one.
  /// - Returns: false when there was nothing to do.
  @discardableResult
  public func rewrapFile(
    _ path: FilePath, for goal: RewrapGoal = .current, replacement: FileReplacement = .atomic,
    context: EncryptionContext = .empty, principal: String? = nil
  ) async throws -> Bool {
    let old = try await fileJob { _ in
      try HeaderJournal(for: path).finish()
      return try EnvelopeFile.header(of: path)
    }
    guard let new = try await rewrap(old, for: goal, context: context, principal: principal) else { return false }
    try await fileJob { _ in try EnvelopeFile.replaceHeader(of: path, from: old, to: new, replacement) }
    return true
  }
}

/// Files that hold envelopes, as they are stored.
enum EnvelopeFile {
  /// The bytes of a file's header.
  static func header(of path: FilePath) throws -> [UInt8] {
    let descriptor = try FileEndpoint.path(path).open().descriptor
    return try FileFailure.mapping("read", path) {
      try descriptor.closeAfter { try FileStream.readHeader(from: descriptor).1 }
    }
  }

  /// Its first bytes, as many as there are up to `count`.
  static func start(of path: FilePath, count: Int) throws -> [UInt8] {
    let descriptor = try FileEndpoint.path(path).open().descriptor
    return try FileFailure.mapping("read", path) {
      try descriptor.closeAfter { try descriptor.readFully(upTo: count) }
    }
  }

  static func replaceHeader(
    of path: FilePath, from old: [UInt8], to new: [UInt8], _ replacement: FileReplacement
  ) throws {
    switch replacement {
    case .inPlace: try HeaderJournal(for: path).rewrite(from: old, to: new)
    case .atomic:
      try replace(path) { source, target, size in
        guard try source.readFully(upTo: old.count) == old else { throw HeaderJournal.changedMeanwhile(path) }
        try copyContent(from: source, to: target, count: size)
        try writeAll(new, to: target, at: 0)
      }
    }
  }

  /// Puts a whole message in place of the one that is there.
  static func replaceContent(of path: FilePath, from old: [UInt8], to new: [UInt8]) throws {
    try replace(path) { source, target, _ in
      guard try source.readFully(upTo: old.count + 1) == old else { throw HeaderJournal.changedMeanwhile(path) }
      _ = try target.writeAll(new)
    }
  }

  /// A file with the same owner and permissions takes the old one's place when it is whole.
  static func replace(
    _ path: FilePath, _ body: (_ source: FileDescriptor, _ target: FileDescriptor, _ size: Int) throws -> Void
  ) throws {
    try write(inPlaceOf: path, body).commit()
  }

  /// The same up to the last step; in a dry run nothing is kept, and there is none.
  static func write(
    inPlaceOf path: FilePath, isDryRun: Bool = false,
    _ body: (_ source: FileDescriptor, _ target: FileDescriptor, _ size: Int) throws -> Void
  ) throws -> PendingFile {
    let source = try FileEndpoint.path(path).open().descriptor
    defer { try? source.close() }
    let status = try FileFailure.mapping("look at", path) { try FileStatus(source) }
    guard !isDryRun else {
      let null = try FileDescriptor.open(FilePath("/dev/null"), .writeOnly, options: .closeOnExec)
      try FileFailure.mapping("read", path) {
        try null.closeAfter { try body(source, null, Int(status.size)) }
      }
      return PendingFile(nil)
    }
    let file = try AtomicFile(path, replacing: true)
    try file.take(ownerOf: status)
    try FileFailure.mapping("write", path) { try body(source, file.descriptor, Int(status.size)) }
    return PendingFile(file, replacing: status)
  }
}

internal import DurableFiles
internal import Envelope
internal import Glibc
internal import KMSCore
package import SystemPackage

/// What makes an in-place rewrite of a file's header safe: a file beside it that holds the old header and the new
/// one, there from before the first byte is changed until the last is durable.
///
/// It appears whole or not at all, so whoever finds one can finish the rewrite.
package struct HeaderJournal {
  let file: FilePath
  private let path: FilePath

  package init(for file: FilePath) {
    self.file = file
    // Of bytes, as two names that are not UTF-8 may read alike.
    let name = file.lastComponent.map { name in
      unsafe name.withPlatformString { text in  // copied within the call
        unsafe UnsafeBufferPointer(start: text, count: strlen(text)).map { UInt8(bitPattern: $0) }  // ends with a zero
      }
    }
    let bytes = Array(".".utf8) + (name ?? []) + Array(Self.suffix.utf8) + [0]
    let characters: [CChar] = bytes.map { CChar(bitPattern: $0) }
    let journal = FilePath.Component(platformString: characters)
    path = journal.map { file.removingLastComponent().appending($0) } ?? file
  }

  private static let suffix = ".rewrap-journal"

  static func isJournal(_ name: String) -> Bool {
    name.hasPrefix(".") && name.hasSuffix(suffix)
  }

  var exists: Bool { (try? FileStatus(path, followingLinks: false)) != nil }

  /// Puts `new` in the place of `old` at the file's beginning; both have the same length.
  func rewrite(from old: [UInt8], to new: [UInt8]) throws {
    try withFile { target in
      guard try target.readFully(upTo: old.count) == old else { throw HeaderJournal.changedMeanwhile(file) }
      let journal = try AtomicFile(path, replacing: false)
      try journal.write(old + new)
      try journal.commit()
      try apply(new, to: target)
    }
  }

  /// Finishes what a run that was cut off has begun. Nothing happens where there is no journal.
  ///
  /// - Returns: whether there was one.
  @discardableResult
  func finish() throws -> Bool {
    guard exists else { return false }
    try withFile { target in
      guard exists else { return }  // finished by another process while this one waited for the lock
      let (old, new) = try content()
      let current = try target.readFully(upTo: new.count)
      if Self.isBetween(current, old, new) { return try apply(new, to: target) }
      // The file was replaced by a whole one since: the journal is of the past.
      guard Self.isWhole(current) else {
        throw KMSError(
          .malformedEnvelope, "\(file) is neither as it was nor as it was to become when a rewrap in place was cut off",
          advice: "Take a good copy of it, then remove \(path).")
      }
      try remove()
    }
    return true
  }

  /// The old header and the new one.
  private func content() throws -> (old: [UInt8], new: [UInt8]) {
    let both = try readFile(path, limit: 2 * FileHeader.largestSize)
    let (old, new) = (Array(both.prefix(both.count / 2)), Array(both.suffix(both.count / 2)))
    // It is there whole or not at all; but another file may have been given its name.
    guard let first = try? FileHeader(parsing: old), let second = try? FileHeader(parsing: new),
      first.keyBlob.thumbprint == second.keyBlob.thumbprint
    else {
      throw KMSError(
        .malformedEnvelope, "\(path) is not what a rewrap in place leaves",
        advice: "Move it away; \(file) was left as it is.")
    }
    return (old, new)
  }

  /// For readers: a file whose header is a part of the old one and a part of the new one waits for a rewrap.
  ///
  /// - Throws: ``KMSError/Code/malformedEnvelope``, which says so.
  package func check() throws {
    guard exists, let (old, new) = try? content(), let current = try? EnvelopeFile.start(of: file, count: old.count),
      current != old, current != new, Self.isBetween(current, old, new)
    else { return }
    throw cutOff
  }

  /// Whether each byte is the old one or the new one.
  private static func isBetween(_ current: [UInt8], _ old: [UInt8], _ new: [UInt8]) -> Bool {
    current.count == new.count && zip(current, zip(old, new)).allSatisfy { $0 == $1.0 || $0 == $1.1 }
  }

  /// Whether an envelope begins so, of a file or of less.
  private static func isWhole(_ start: [UInt8]) -> Bool {
    switch EnvelopeKind.detect(start) {
    case .file, nil: (try? FileHeader(startOf: start)) != nil
    case .field, .keyBlob, .encrypt0: true
    }
  }

  var cutOff: KMSError {
    KMSError(
      .malformedEnvelope, "a rewrap in place of \(file) was cut off",
      advice: "Finish it with 'strongroom rewrap \(file)'.")
  }

  private func apply(_ new: [UInt8], to target: FileDescriptor) throws {
    try FileFailure.mapping("write", file) {
      try writeAll(new, to: target, at: 0)
      try sync(target)
    }
    try remove()
  }

  private func remove() throws {
    guard unsafe path.withPlatformString({ unsafe unlink($0) }) == 0 || errno == ENOENT else {  // for the call only
      throw FileFailure.error("remove", path, Errno(rawValue: errno))
    }
    try syncFolder(of: path)
  }

  /// One process at a time works on the file.
  private func withFile(_ body: (FileDescriptor) throws -> Void) throws {
    try FileFailure.mapping("open", file) {
      let target = try FileDescriptor.open(file, .readWrite, options: [.closeOnExec, .noFollow])
      try target.closeAfter {
        while flock(target.rawValue, LOCK_EX) != 0 {
          guard errno == EINTR else { throw Errno(rawValue: errno) }
        }
        try body(target)
      }
    }
  }

  static func changedMeanwhile(_ file: FilePath) -> KMSError {
    KMSError(
      .fileFailed, "\(file) was changed by somebody else while it was rewrapped",
      advice: "It was left as it is; run the command again.")
  }
}

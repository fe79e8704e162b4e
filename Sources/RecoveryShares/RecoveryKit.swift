internal import DurableFiles
internal import Glibc
package import KMSCore
package import SystemPackage

/// What is kept offline of a recovery key: a file for each share, and a note that says which key it is.
///
/// The note is written first and removed last, and says "being made" until the key is in its provider: so after a
/// crash it tells whether these shares are of a key that is there.
package struct RecoveryKit: Sendable {
  package let folder: FilePath
  package let key: KeyName

  /// Whether the folder was not there: then it goes again when there is nothing to keep in it.
  private let isNewFolder: Bool

  package init(folder: FilePath, key: KeyName) throws {
    self.folder = folder
    self.key = key
    isNewFolder = try FileStatus(folder) == nil
  }

  package var notePath: FilePath { folder.appending("\(key).txt") }

  package func paths(_ note: RecoveryNote) -> [FilePath] {
    (1...note.shares).map { ShareFile.path($0, of: key, in: folder) }
  }

  /// The note, if there is one.
  package func note() throws -> RecoveryNote? {
    guard try FileStatus(notePath) != nil else { return nil }
    return try RecoveryNote(parsing: String(decoding: readFile(notePath, limit: 1 << 16), as: UTF8.self), of: key)
  }

  /// Writes note and shares, all of them durable when this returns, and gives back what the shares give.
  package func write(_ secret: borrowing SecretBytes, _ note: RecoveryNote) throws -> SecretBytes {
    let shares = try SecretSharing.split(secret, shares: note.shares, threshold: note.threshold)
    if isNewFolder {
      guard unsafe folder.withPlatformString({ unsafe mkdir($0, 0o700) }) == 0 else {  // for the call only
        throw FileFailure.error("create", folder, Errno(rawValue: errno))
      }
    } else {
      try AtomicFile.removeLeftovers(in: folder)  // a folder that cannot be listed is refused before there is a key
    }
    let paths = paths(note)
    for path in paths where try FileStatus(path, followingLinks: false) != nil {
      throw KMSError(.outputExists, "\(path) is there already", advice: "Choose another folder or another name.")
    }
    // Only what was written here is removed on a failure: a share of another key may have this name. What failed last
    // may be in place.
    var written: [FilePath] = []
    do {
      written.append(notePath)
      try write(note, replacing: false)
      for (share, path) in zip(shares, paths) {
        written.append(path)
        try ShareFile.write(share, to: path)
      }
      return try readBack(note)
    } catch {
      if (error as? KMSError)?.code == .outputExists { written.removeLast() }  // somebody else's
      try remove(written.reversed())
      throw error
    }
  }

  /// What the shares in their files give. Each of them takes part.
  package func readBack(_ note: RecoveryNote) throws -> SecretBytes {
    let shares = try paths(note).map(ShareFile.read)
    let first = try SecretSharing.combine(Array(shares.prefix(note.threshold)))
    for share in shares.dropFirst(note.threshold) {
      let again = try SecretSharing.combine(shares.prefix(note.threshold - 1) + [share])
      let same = again.equals(first)
      guard same else {
        throw KMSError(
          .doesNotOpen, "share \(share.number) does not give the key that the others give",
          advice: "Check the disk; then make the key again.")
      }
    }
    return first
  }

  /// The key is in its provider.
  package func complete(_ note: RecoveryNote) throws {
    var note = note
    note.isReady = true
    // A killed run may have left the note in a temporary file; without O_TMPFILE, a share as well.
    try AtomicFile.removeLeftovers(in: folder)
    try write(note, replacing: true)
  }

  /// The key is in no provider: its shares are shares of nothing.
  package func discard(_ note: RecoveryNote) throws {
    try AtomicFile.removeLeftovers(in: folder)
    try remove(paths(note) + [notePath])
  }

  private func remove(_ paths: [FilePath]) throws {
    for path in paths {
      guard unsafe path.withPlatformString({ unsafe unlink($0) }) == 0 || errno == ENOENT else {  // for the call only
        throw FileFailure.error("remove", path, Errno(rawValue: errno))
      }
    }
    try syncFolder(of: notePath)
    // Not if there is something else in it by now.
    if isNewFolder { _ = unsafe folder.withPlatformString { unsafe rmdir($0) } }  // for the call only
  }

  private func write(_ note: RecoveryNote, replacing: Bool) throws {
    let file = try AtomicFile(notePath, replacing: replacing)
    try file.write(Array(note.text(of: key).utf8))
    try file.commit()
  }
}

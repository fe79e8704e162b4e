import DurableFiles
import Foundation
import KMSCore
import SystemPackage
import TestSupport
import Testing

struct FileLockTests {
  private let folder = TemporaryFolder()
  private var path: FilePath { FilePath(folder.path + "/lock") }

  @Test("a lock that somebody holds is not waited for longer than was said", .timeLimit(.minutes(1)))
  func limit() throws {
    _ = try withFileLock(path) {
      #expect(throws: KMSError(.deadlineExceeded, "")) {
        try withFileLock(path, within: .milliseconds(20)) { Issue.record("two have it") }
      }
    }
    var isTaken = false
    try withFileLock(path, within: .zero) { isTaken = true }
    #expect(isTaken)
  }

  @Test("a new lock belongs to whom the file belongs to", .enabled(if: isRoot, "only root may give files away"))
  func owner() throws {
    let file = folder.path + "/file"
    try Data().write(to: URL(filePath: file))
    #expect(unsafe chown(file, 12_345, 23_456) == 0)  // a string, for the call only
    let status = try #require(try FileStatus(FilePath(file)))
    try withFileLock(path, of: status) {}
    let lock = try #require(try FileStatus(path))
    #expect(lock.owner == 12_345 && lock.group == 23_456 && lock.mode & 0o777 == 0o600)
  }

  /// The folder's owner may have put it there.
  @Test("what a link leads to is not given away", .enabled(if: isRoot, "only root may give files away"))
  func link() throws {
    let (file, target) = (folder.path + "/file", folder.path + "/target")
    for name in [file, target] { try Data().write(to: URL(filePath: name)) }
    #expect(unsafe chown(file, 12_345, 23_456) == 0)  // a string, for the call only
    try FileManager.default.createSymbolicLink(atPath: path.string, withDestinationPath: target)
    let status = try FileStatus(FilePath(file))
    try withFileLock(path, of: status) {}
    #expect(try FileStatus(FilePath(target))?.owner == 0)
  }
}

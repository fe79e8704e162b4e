import DurableFiles
import Foundation
import SystemPackage
import TestSupport
import Testing

/// Folders that take files and do not say what is in them.
struct FolderRightsTests {
  private let folder = TemporaryFolder()

  /// Drop boxes: others may put something in, and not look what is there.
  @Test("a file that is in place is no failure", arguments: [0o300, 0o1333])
  func dropBox(_ mode: UInt32) async throws {
    let path = FilePath(folder.path + "/out")
    try await asOwner(of: folder.path, mode: mode) {
      for (replacing, byte) in [(false, 1), (true, 2)] {
        let file = try AtomicFile(path, replacing: replacing)
        try file.write([UInt8(byte)])
        try file.commit()
      }
    }
    #expect(try readFile(path, limit: 10) == [2])
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["out"])
  }

  @Test("a folder that takes none is told before anything is made")
  func closed() async throws {
    let path = FilePath(folder.path + "/out")
    let error = try await asOwner(of: folder.path, mode: 0o500) {
      do {
        _ = try AtomicFile(path, replacing: false)
        return "made"
      } catch { return "\(error)" }
    }
    #expect(error.hasPrefix("cannot create \(path): "), "\(error)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
  }
}

import DurableFiles
import Foundation
import SystemPackage
import TestSupport
import Testing

/// Names that are not UTF-8: in Latin-1, say, as old backups have them.
struct ByteNameTests {
  private let folder = TemporaryFolder()

  private func name(_ bytes: [UInt8]) throws -> FilePath.Component {
    try #require(FilePath.Component(platformString: bytes.map { CChar(bitPattern: $0) } + [0]))
  }

  @Test("a file is made, looked at, replaced, listed and counted under its own name")
  func itsOwnName() throws {
    let deep = FilePath(folder.path).appending(try name([0xE9]))
    try FileDescriptor.open(FilePath(folder.path).appending("plain"), .writeOnly, options: .create, permissions: [])
      .close()
    #expect(unsafe deep.withPlatformString { unsafe mkdir($0, 0o700) } == 0)  // for the call only
    let names = try [name([0x63, 0xE8]), name([0x63, 0xE9])]
    for (content, name) in names.enumerated() {
      for replacing in [false, true] {
        let file = try AtomicFile(deep.appending(name), replacing: replacing)
        try file.write([UInt8(content)])
        try file.commit()
      }
    }
    #expect(try folderEntries(deep) == names)
    for (content, name) in names.enumerated() {
      #expect(try readFile(deep.appending(name), limit: 10) == [UInt8(content)])
      #expect(try FileStatus(deep.appending(name))?.size == 1)
    }
    #expect(countFiles(FilePath(folder.path)) == 3)
    #expect(try folderContents(FilePath(folder.path)) == ["plain", "\u{FFFD}"])
  }

  @Test("what was left of one is removed")
  func leftovers() throws {
    let left = FilePath(folder.path).appending(try name([0x2E, 0x63, 0xE9] + Array(".1a.strongroom-partial".utf8)))
    try FileDescriptor.open(left, .writeOnly, options: .create, permissions: .ownerReadWrite).close()
    try AtomicFile.removeLeftovers(in: FilePath(folder.path))
    #expect(try folderEntries(FilePath(folder.path)).isEmpty)
  }
}

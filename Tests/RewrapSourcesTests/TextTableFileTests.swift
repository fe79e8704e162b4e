import DurableFiles
import Foundation
import RewrapSources
import Strongroom
import SystemPackage
import Testing

/// Text tables as files: pieces that they are read in, others that change them, who owns them.
struct TextTableFileTests {
  private func table(_ path: FilePath, _ format: TextTable.Format = .csv, isReadOnly: Bool = false) -> TextTable {
    TextTable(path, format: format, columns: TableColumns(["secret"]), isReadOnly: isReadOnly)
  }

  @Test("a value may lie across the border of two pieces", arguments: TextTable.Format.allCases)
  func borders(_ format: TextTable.Format) async throws {
    try await withFolder { folder in
      let path = folder.appending("t")
      let border = 256 << 10
      let value = base64(old("a"))
      for shift in stride(from: -30, through: 6, by: 3) {
        let start = format == .csv ? "id,secret\n" : ""
        let before = format == .csv ? "\"x\r\n" : "{\"id\":\"x"
        let after =
          format == .csv
          ? "\",\"\(value)\"\r\n2,\(value)\r\n" : "\",\"secret\":\"\(value)\"}\n{\"secret\":\"\(value)\"}\n"
        let fill = border + shift - start.utf8.count - before.utf8.count
        let text = start + before + String(repeating: "-", count: fill) + after
        try path.write(text)
        var source = table(path, format)
        let pass = try await rewrite(&source, new)
        #expect(pass.values == [old("a"), old("a")], "shift \(shift)")
        let isAsExpected = try path.text == text.replacingOccurrences(of: value, with: base64(new(old("a"))))
        #expect(isAsExpected, "shift \(shift)")
      }
    }
  }

  @Test("records longer than a piece, and more than a batch of them", arguments: TextTable.Format.allCases)
  func long(_ format: TextTable.Format) async throws {
    try await withFolder { folder in
      let path = folder.appending("t")
      let values = (0..<1100).map { number in
        number % 500 == 0 ? [UInt8](repeating: UInt8(number / 500), count: 450_000) : old("\(number)")
      }
      func text(_ change: ([UInt8]) -> [UInt8]) -> String {
        let lines = values.map { value in
          let value = base64(change(value))
          return format == .csv ? "1,\(value)\n" : "{\"secret\":\"\(value)\"}\n"
        }
        return (format == .csv ? "id,secret\n" : "") + lines.joined()
      }
      try path.write(text { $0 })
      var source = table(path, format)
      let pass = try await rewrite(&source) { $0.reversed() }
      let isAsExpected = try pass.values == values && path.text == text { $0.reversed() }
      #expect(isAsExpected)
      #expect(pass.items.count == values.count && source.fractionDone == 1)
    }
  }

  @Test("a source that only reads leaves the file alone")
  func readOnly() async throws {
    try await withFolder { folder in
      let path = folder.appending("t.csv")
      try path.write("secret\n\(base64(old("a")))\n")
      let before = try FileStatus(path)
      var source = table(path, isReadOnly: true)
      let pass = try await rewrite(
        &source,
        meanwhile: {
          let names = try path.neighbours
          #expect(names == ["t.csv"])
        }, new)
      #expect(pass.values == [old("a")])
      #expect(try FileStatus(path) == before)
      // Nothing to do is nothing done.
      var writable = table(path)
      _ = try await rewrite(&writable) { _ in nil }
      #expect(try FileStatus(path) == before)
    }
  }

  @Test("a file that somebody else changed meanwhile stays as he left it", arguments: [true, false])
  func changedMeanwhile(isReplaced: Bool) async throws {
    try await withFolder { folder in
      let path = folder.appending("t.csv")
      let text = "secret\n\(base64(old("a")))\n"
      try path.write(text)
      var source = table(path)
      let error = try await failure {
        _ = try await rewrite(
          &source,
          meanwhile: {
            if isReplaced { try FileManager.default.removeItem(atPath: path.string) }
            let handle = isReplaced ? nil : FileHandle(forWritingAtPath: path.string)
            guard let handle else { return try path.write("other\n") }
            try handle.seekToEnd()
            try handle.write(contentsOf: Data("more\n".utf8))
            try handle.close()
          }, new)
      }
      #expect(error.code == .fileFailed && error.advice.contains("again"))
      #expect(try path.text == (isReplaced ? "other\n" : text + "more\n"))
      #expect(try path.neighbours == ["t.csv"])
    }
  }

  @Test("the new file has the owner and permissions of the old one")
  func owner() async throws {
    try await withFolder { folder in
      let path = folder.appending("t.csv")
      try path.write("secret\n\(base64(old("a")))\n")
      let isRoot = getuid() == 0
      let owner: UInt32 = isRoot ? 12_345 : getuid()
      #expect(unsafe chown(path.string, owner, isRoot ? 23_456 : getgid()) == 0)  // a string, for the call only
      #expect(unsafe chmod(path.string, 0o662) == 0)  // as above; the umask would take some of it away
      var source = table(path)
      _ = try await rewrite(&source, new)
      let status = try #require(try FileStatus(path))
      #expect(status.owner == owner && status.mode & 0o777 == 0o662)
      #expect(status.group == (isRoot ? 23_456 : getgid()))
      #expect(try path.text == "secret\n\(base64(new(old("a"))))\n")
    }
  }

  @Test("what a killed run left is removed; what a living one writes to is not")
  func leftovers() async throws {
    try await withFolder { folder in
      let path = folder.appending("t.csv")
      try path.write("secret\n\(base64(old("a")))\n")
      let (dead, living) = (".t.csv.abc.strongroom-partial", ".t.csv.def.strongroom-partial")
      for name in [dead, living, ".movie.mp4.partial"] { try folder.appending(name).write("x") }
      let owner = try FileDescriptor.open(folder.appending(living), .readWrite)
      #expect(flock(owner.rawValue, LOCK_EX) == 0)
      var source = table(path)
      _ = try await rewrite(&source, new)
      #expect(try path.neighbours == [living, ".movie.mp4.partial", "t.csv"].sorted())
      try owner.close()
    }
  }

  @Test("a folder, a link and a missing file are refused")
  func notAFile() async throws {
    try await withFolder { folder in
      let path = folder.appending("t.csv")
      try path.write("secret\n\(base64(old("a")))\n")
      let link = folder.appending("link")
      try FileManager.default.createSymbolicLink(atPath: link.string, withDestinationPath: path.string)
      for (path, code) in [
        (folder, KMSError.Code.fileFailed), (link, .fileFailed), (folder.appending("x"), .fileNotFound),
      ] {
        var source = table(path)
        #expect(try await failure { _ = try await rewrite(&source, new) }.code == code)
      }
    }
  }
}

import Foundation
import InMemoryProvider
import Strongroom
import SystemPackage
import Testing

/// Every state that a crash of a rewrap in place can leave, made by hand.
struct HeaderJournalTests {
  private let manager: DataAtRestManager

  init() throws {
    manager = try DataAtRestManager(
      providers: [InMemoryProvider(name: "m")], configuration: DataAtRestConfig(), reporter: Recorder())
  }

  /// A file, its old and new header, and its body; the file has the old one.
  private struct State {
    let path: FilePath
    let old: [UInt8]
    let new: [UInt8]
    let body: [UInt8]
    var journal: FilePath { path.removingLastComponent().appending(".sealed.rewrap-journal") }

    func set(header: [UInt8], journal content: [UInt8]?) throws {
      try Data(header + body).write(to: URL(filePath: path.string))
      if let content { try Data(content).write(to: URL(filePath: journal.string)) }
    }
  }

  private func withState(_ body: (State) async throws -> Void) async throws {
    try await withFolder { folder in
      try await manager.createKey(try key)
      let (plain, path) = (folder.appending("plain"), folder.appending("sealed"))
      try plain.write("content")
      try await manager.encryptFile(from: .path(plain), to: .path(path))
      try FileManager.default.removeItem(atPath: plain.string)
      try await manager.rotate(try key, reason: "test")
      let all = try path.content
      let old = Array(all.prefix(try FileHeader(startOf: all).size))
      let new = try #require(try await manager.rewrap(old))
      try await body(State(path: path, old: old, new: new, body: Array(all[old.count...])))
    }
  }

  private func decrypted(_ path: FilePath) async throws -> String {
    let out = path.removingLastComponent().appending("out")
    defer { try? FileManager.default.removeItem(atPath: out.string) }
    try await manager.decryptFile(from: .path(path), to: .path(out))
    return String(decoding: try out.content, as: UTF8.self)
  }

  @Test("a header that was torn at whatever byte is finished, and until then readers say what to do")
  func torn() async throws {
    try await withState { state in
      var last: [UInt8] = []
      var cuts = 0
      for cut in 0...state.new.count {
        let header = Array(state.new[..<cut] + state.old[cut...])
        guard header != last else { continue }
        last = header
        cuts += 1
        try state.set(header: header, journal: state.old + state.new)
        if header == state.old || header == state.new {
          #expect(try await decrypted(state.path) == "content")
        } else {
          let error = try await failure { _ = try await decrypted(state.path) }
          #expect(error.code == .malformedEnvelope)
          #expect(error.advice.contains("strongroom rewrap \(state.path)"), "\(error)")
        }
        // Who only looks changes nothing.
        var look = EnvelopeFiles([state.path], replacement: nil)
        let looked = try await manager.rewrap(&look, with: BulkOptions(isDryRun: true))
        #expect(looked.failures.first?.error.advice.contains("strongroom rewrap") == true)
        #expect(try state.path.content == header + state.body)

        var source = EnvelopeFiles([cut % 2 == 0 ? state.path : state.path.removingLastComponent()])
        #expect(try await manager.rewrap(&source).counts == [0, 1, 0], "cut at \(cut)")
        #expect(try state.path.content == state.new + state.body)
        #expect(!state.journal.isThere)
      }
      #expect(cuts > 50)  // id and wrapped key
      #expect(try await decrypted(state.path) == "content")
    }
  }

  @Test("blocks may reach the disk in any order")
  func mixed() async throws {
    try await withState { state in
      for _ in 0..<20 {
        let header = zip(state.old, state.new).map { Bool.random() ? $0 : $1 }
        try state.set(header: header, journal: state.old + state.new)
        #expect(try await manager.rewrapFile(state.path) == false)
        #expect(try state.path.content == state.new + state.body && !state.journal.isThere)
      }
    }
  }

  @Test("reencrypt finishes it, too")
  func reencrypt() async throws {
    try await withState { state in
      try state.set(header: Array(state.new[..<300] + state.old[300...]), journal: state.old + state.new)
      try await manager.reencryptFile(state.path)
      #expect(try await decrypted(state.path) == "content" && !state.journal.isThere)
    }
  }

  @Test("after another rotation, it is finished and then rewrapped to what is current now")
  func olderJournal() async throws {
    try await withState { state in
      let newest = try await manager.rotate(try key, reason: "test")
      try state.set(header: Array(state.new[..<200] + state.old[200...]), journal: state.old + state.new)
      var source = EnvelopeFiles([state.path], replacement: .inPlace)
      #expect(try await manager.rewrap(&source).counts == [1, 0, 0])
      let kids = try FileHeader(startOf: try state.path.content).keyBlob.recipients.map(\.kid)
      #expect(kids == [newest.id] && !state.journal.isThere)
      #expect(try await decrypted(state.path) == "content")
    }
  }

  @Test("the journal of a file that was replaced since is of the past")
  func replaced() async throws {
    try await withState { state in
      let plain = state.path.removingLastComponent().appending("plain")
      try plain.write("another")
      try state.set(header: state.old, journal: state.old + state.new)
      try await manager.encryptFile(from: .path(plain), to: .path(state.path, replacing: true))
      let before = try state.path.content
      #expect(try await decrypted(state.path) == "another")
      var source = EnvelopeFiles([state.path])
      #expect(try await manager.rewrap(&source).counts == [0, 1, 0])
      #expect(try state.path.content == before && !state.journal.isThere)
      #expect(try await decrypted(state.path) == "another")

      // Also by less than a file.
      try Data(try await manager.encrypt("a value")).write(to: URL(filePath: state.path.string))
      try Data(state.old + state.new).write(to: URL(filePath: state.journal.string))
      #expect(try await decrypted(state.path) == "a value")
      source = EnvelopeFiles([state.path])
      #expect(try await manager.rewrap(&source).counts == [0, 1, 0])
      #expect(!state.journal.isThere)
    }
  }

  @Test("a file that is neither as before nor as after is not touched, nor its journal, and others go on")
  func foreign() async throws {
    try await withState { state in
      let other = state.path.removingLastComponent().appending("zother")
      try Data(state.old + state.body).write(to: URL(filePath: other.string))
      for content in [Array("no envelope".utf8), Array((state.old + state.body).prefix(100)), []] {
        try Data(content).write(to: URL(filePath: state.path.string))
        try Data(state.old + state.new).write(to: URL(filePath: state.journal.string))
        var source = EnvelopeFiles([state.path.removingLastComponent()])
        let report = try await manager.rewrap(&source)
        #expect(report.changed + report.unchanged == 1 && report.failures.count == 1)
        #expect(report.failures.first?.error.code == .malformedEnvelope)
        #expect(try state.path.content == content && state.journal.isThere)
      }
    }
  }

  @Test("a file in the journal's place that is none changes nothing")
  func noJournal() async throws {
    try await withState { state in
      let another = try FileHeader(
        keyBlob: FileHeader(parsing: state.old).keyBlob, size: state.old.count
      ).encoded()
      for content in [
        [], [1], Array("text".utf8), state.old, state.new + [0], state.old + Array(repeating: 0, count: another.count),
      ] {
        try state.set(header: state.old, journal: content)
        #expect(try await decrypted(state.path) == "content")
        let error = try await failure { _ = try await manager.rewrapFile(state.path, replacement: .inPlace) }
        #expect(error.code == .malformedEnvelope && error.advice.contains("Move it away"))
        #expect(try state.path.content == state.old + state.body)
        #expect(try state.journal.content == content)
      }
    }
  }

  @Test("the body's bytes, the inode and its other names stay")
  func sameInode() async throws {
    try await withState { state in
      let link = state.path.removingLastComponent().appending("second")
      try FileManager.default.linkItem(atPath: state.path.string, toPath: link.string)
      #expect(try await manager.rewrapFile(state.path, replacement: .inPlace))
      #expect(try link.content == state.path.content)
      let isSame = try haveSameBody(link.content, state.old + state.body)
      #expect(isSame && !state.journal.isThere)
      #expect(try await decrypted(link) == "content")
    }
  }
}

import CryptoPrimitives
import Foundation
import InMemoryProvider
import KMSCore
import Synchronization
import SystemPackage
import Testing

@testable import AccessLog

/// Trees, notes and what a sealed log looks like when nobody touched it.
@Suite struct SealingTests {
  /// RFC 6962, 2.1, as it is written there.
  private func reference(_ leaves: ArraySlice<[UInt8]>) -> [UInt8] {
    if leaves.isEmpty { return TreeHasher.empty.bytes }
    if leaves.count == 1 {
      let leaf = leaves[leaves.startIndex]
      return SHA256.digest(prefix: [0], leaf.span)
    }
    var k = 1
    while k * 2 < leaves.count { k *= 2 }
    let middle = leaves.startIndex + k
    let both = reference(leaves[..<middle]) + reference(leaves[middle...])
    return SHA256.digest(prefix: [1], both.span)
  }

  @Test func theTreeIsThatOfTheRFC() throws {
    let leaves = (0..<70).map { [UInt8]("record \($0)".utf8) }
    var hasher = TreeHasher()
    var tree = MerkleFrontier()
    for (i, leaf) in leaves.enumerated() {
      #expect(tree.root(&hasher).bytes == reference(leaves[..<i]))
      #expect(MerkleFrontier(text: tree.text) == tree)
      tree.append(hasher.leaf(leaf.span), &hasher)
    }
    // Certificate Transparency's well-known vector: the tree of the leaves "" and 0x00 (RFC 6962 test data).
    var known = MerkleFrontier()
    for leaf in [[], [UInt8(0)]] { known.append(hasher.leaf(leaf.span), &hasher) }
    let hex = known.root(&hasher).bytes.map { String(format: "%02x", $0) }.joined()
    #expect(hex == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125")
  }

  @Test func everyInclusionProofHoldsAndNoOther() throws {
    for size in [1, 2, 3, 7, 8, 21] {
      for index in 0..<size {
        for start in [0, index / 2, index] {
          var frontier = MerkleFrontier()
          var hasher = TreeHasher()
          let leaves = (0..<size).map { i in
            let record = [UInt8(i)]
            return hasher.leaf(record.span)
          }
          for leaf in leaves[..<start] { frontier.append(leaf, &hasher) }
          var builder = InclusionProofBuilder(start: frontier, index: UInt64(index), size: UInt64(size))
          for leaf in leaves[start...] { builder.append(leaf) }
          let finished = builder.finish()
          let (path, root) = try #require(finished)
          func holds(_ leaf: TreeHash, _ index: Int, _ path: [TreeHash]) -> Bool {
            verifyInclusion(leaf, index: UInt64(index), size: UInt64(size), path: path, root: root)
          }
          #expect(holds(leaves[index], index, path))
          for other in 0..<size where other != index { #expect(!holds(leaves[index], other, path)) }
          #expect(!holds(leaves[(index + 1) % size], index, path) || size == 1)
          #expect(path.isEmpty || !holds(leaves[index], index, path.dropLast()))
        }
      }
    }
  }

  @Test func notesAndKeysAreReadStrictly() async throws {
    let test = try await TestSigner()
    let note = try await test.signer.sign("log/1\n12\n\(Base64.encode(TreeHasher.empty.bytes))\n")
    #expect(SignedNote(note.description) == note && test.key.verifies(note))
    #expect(try LogVerifierKey(parsing: test.key.description) == test.key)
    #expect(throws: KMSError(.invalidInput, "")) {
      try LogVerifierKey(parsing: test.key.description.replacing("+AjBZ", with: "+AjBa"))
    }
    #expect(SignedNote(note.description + "\n") == nil && SignedNote(String(note.description.dropLast())) == nil)
    #expect(Checkpoint(text: note.text)?.size == 12 && Checkpoint(text: "a\n012\nx\n") == nil)
    let another = try await TestSigner()
    #expect(!another.key.verifies(note))
  }

  @Test func aLogThatNobodyTouchedIsSound() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      for events in [0, 1, 2500] { try await writeLog(folder, test, events: events, rotateAt: 65_536) }
      let result = try test.verify(folder)
      #expect(result.findings == [])
      #expect(result.logs == 3 && result.files > 5 && result.checkpoints >= 4)
      #expect(result.signed == result.records && result.records > 2500)
      // What the log says of itself is not shown unless asked for.
      #expect(try readAll(folder).records.count == 2501)
      #expect(try readAll(folder).summary.damaged.count == 0)
      let own = try readAll(folder, AccessFilter(includesOwn: true)).records.filter(\.type.isOwn)
      #expect(
        own.filter { $0.type == .checkpoint }.allSatisfy { $0.operation.rawValue == "sign" && $0.success == true })
      #expect(own.contains { $0.type == .end } && own.contains { $0.type == .file })
    }
  }

  @Test func aLogThatIsBeingWrittenIsSoundAndLateOnesAreNot() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = try AccessLogFile(AccessLogSettings(directory: folder), signer: test.signer)
      try await log.report(AccessEvent(.wrap))
      #expect(try test.verify(folder).isSound && test.verify(folder).open == 1)
      #expect(try test.verify(folder, now: .now().advanced(by: .seconds(7200))).kinds == ["cut"])
      await log.close()
      #expect(try test.verify(folder, now: .now().advanced(by: .seconds(7200))).isSound)
    }
  }

  @Test func silenceIsFound() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = try AccessLogFile(AccessLogSettings(directory: folder), signer: test.signer)
      let begin = Timestamp.now()
      for second in [10, 3000, 9000] {
        try await log.report(AccessEvent(.wrap, timestamp: begin.advanced(by: .seconds(second))))
      }
      await log.close()
      let result = try test.verify(folder)
      #expect(result.findings.first { $0.kind == .silence }?.line == 4)
      #expect(result.kinds == ["silence", "missing-checkpoint"])
      #expect(result.findings.first { $0.kind == .silence }?.sequences == 4...4)
    }
  }

  @Test func aSignerThatFailsIsLoggedAndLoggingGoesOn() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let other = LogSigner(test.provider, key: try KeyName("nobody-made-it"))
      let log = try AccessLogFile(AccessLogSettings(directory: folder), signer: other)
      for _ in 0..<30 { try await log.report((0..<50).map { _ in AccessEvent(.wrap) }) }
      await log.close()
      let own = try readAll(folder, AccessFilter(includesOwn: true)).records.filter { $0.type == .checkpoint }
      #expect(own.count >= 1 && own.allSatisfy { $0.errorCode == "key-not-found" })
      #expect(try test.verify(folder).kinds.contains("missing-checkpoint"))
    }
  }

  @Test func afterSealingItGoesOnInAnotherLog() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      let log = try AccessLogFile(AccessLogSettings(directory: folder), signer: test.signer)
      try await log.report(AccessEvent(.wrap))
      await log.seal()
      let begin = Timestamp.now()
      try await Task.sleep(for: .milliseconds(10))
      try await log.report(AccessEvent(.unwrap))
      await log.close()
      let result = try test.verify(folder)
      #expect(result.isSound && result.logs == 2)
      // Its name says when it was begun, and not when the one before had ended.
      let last = try #require(try files(in: folder).last { LogFileName($0) != nil })
      let origin = try #require(try FileIntroduction(of: folder.appending(last))).origin
      #expect(try #require(LogTree.begun(origin)).milliseconds > begin.milliseconds)
    }
  }

  @Test func eightWritersShareAFolder() async throws {
    try await withFolder { folder in
      let test = try await TestSigner()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<8 { group.addTask { try await writeLog(folder, test, events: 300, rotateAt: 20_000) } }
        try await group.waitForAll()
      }
      let result = try test.verify(folder)
      #expect(result.findings == [] && result.logs == 8 && result.signed == result.records)
    }
  }
}

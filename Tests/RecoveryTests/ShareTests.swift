import Foundation
import KMSCore
import RecoveryShares
import SystemPackage
import TestSupport
import Testing

private let gfcombine = "/usr/bin/gfcombine"

/// Shares of a recovery key, against Debian's gfsplit and gfcombine.
@Suite(.enabled(if: FileManager.default.fileExists(atPath: gfcombine), "libgfshare-bin is not installed"))
final class ShareTests {
  private let folder = TemporaryFolder()
  private let key = SecretBytes.random(count: 32)

  private func kit() throws -> RecoveryKit {
    try RecoveryKit(folder: FilePath(folder.path), key: try KeyName("offline"))
  }

  private func note(_ shares: Int, _ threshold: Int) async throws -> RecoveryNote {
    try RecoveryNote(version: .make(), provider: "hsm", shares: shares, threshold: threshold)
  }

  private func name(_ number: Int) -> String { "offline.00\(number)" }

  /// All ways to take `count` of 1...5.
  private func choices(_ count: Int) -> [[Int]] {
    (0..<32).map { bits in (1...5).filter { bits >> ($0 - 1) & 1 == 1 } }.filter { $0.count == count }
  }

  @Test("gfcombine restores the key from any three of five, and from no two")
  func anyThree() async throws {
    let kit = try kit()
    let copy = try await kit.write(key, note(5, 3))
    let same = copy.equals(key)
    #expect(same)
    let expected = key.unprotectedCopy()
    for choice in choices(3) + choices(5) {
      let result = try await folder.run("rm -f out; \(gfcombine) -o out \(choice.map(name).joined(separator: " "))")
      #expect(result.status == 0, "\(result.error)")
      #expect(try folder.bytes("out") == expected, "\(choice)")
    }
    for choice in choices(2) {
      try await folder.run("rm -f out; \(gfcombine) -o out \(choice.map(name).joined(separator: " "))")
      #expect(try folder.bytes("out") != expected, "\(choice)")
    }
  }

  @Test("what gfsplit made is combined here, too")
  func gfsplit() async throws {
    try folder.write(key.unprotectedCopy(), to: "key")
    try await folder.run("/usr/bin/gfsplit -n 3 -m 6 key")
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasPrefix("key.") }
    #expect(names.count == 6)
    let shares = try names.shuffled().prefix(3).map { try ShareFile.read(FilePath(folder.path + "/" + $0)) }
    let same = try SecretSharing.combine(shares).equals(key)
    #expect(same)
  }

  @Test("the largest numbers there are", arguments: [(2, 2), (255, 2), (255, 255)])
  func sizes(shares: Int, threshold: Int) throws {
    let all = try SecretSharing.split(key, shares: shares, threshold: threshold)
    #expect(all.map(\.number) == Array(1...UInt8(shares)))
    let same = try SecretSharing.combine(Array(all.suffix(threshold))).equals(key)
    #expect(same)
    let tooFew = threshold == 2 ? false : try SecretSharing.combine(Array(all.dropFirst())).equals(key)
    #expect(!tooFew)
  }

  @Test("splitting twice gives other shares")
  func random() throws {
    let one = try SecretSharing.split(key, shares: 2, threshold: 2)
    let two = try SecretSharing.split(key, shares: 2, threshold: 2)
    let same = one[0].bytes.equals(two[0].bytes)
    #expect(!same)
  }

  @Test("impossible numbers are refused", arguments: [(1, 1), (3, 1), (3, 4), (256, 2), (0, 0), (3, -1)])
  func impossible(shares: Int, threshold: Int) async throws {
    let error = try await failure { _ = try SecretSharing.split(key, shares: shares, threshold: threshold) }
    #expect(error.code == .invalidInput)
  }

  @Test("shares that cannot belong together are refused")
  func mixed() async throws {
    let shares = try SecretSharing.split(key, shares: 3, threshold: 2)
    let short = Share(number: 9, bytes: .random(count: 31))
    for wrong in [[], [shares[0]], [shares[0], shares[0]], [shares[0], short]] {
      #expect(try await failure { _ = try SecretSharing.combine(wrong) }.code == .invalidInput)
    }
    for name in ["offline", "offline.1", "offline.000", "offline.256", "offline.0001", "offline.abc", "offline.+12"] {
      try folder.write([1, 2], to: name)
      let path = FilePath(folder.path + "/" + name)
      #expect(try await failure { _ = try ShareFile.read(path) }.code == .invalidInput, "\(name)")
    }
  }

  @Test("a kit that cannot be written leaves nothing, and nothing else is touched")
  func foreignShare() async throws {
    try folder.write([7], to: "offline.003")
    let kit = try kit()
    let error = try await failure { _ = try await kit.write(key, note(5, 3)) }
    #expect(error.code == .outputExists && error.message.contains("offline.003"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["offline.003"])
    #expect(try folder.bytes("offline.003") == [7])
  }

  @Test("a folder that cannot be listed is refused before anything is written")
  func unlisted() async throws {
    let (kit, note) = (try kit(), try await note(5, 3))
    let error = try await asOwner(of: folder.path, mode: 0o300) {
      do { _ = try kit.write(.random(count: 32), note) } catch let error as KMSError { return error }
      throw NoFailure()
    }
    #expect(error.code == .accessDenied && !error.advice.isEmpty, "\(error)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
  }

  @Test("a share that was damaged on the disk is found before the key is used")
  func damaged() async throws {
    for number in 1...5 {
      let folder = TemporaryFolder()
      let kit = try RecoveryKit(folder: FilePath(folder.path), key: try KeyName("offline"))
      let note = try await note(5, 3)
      _ = try kit.write(key, note)
      var bytes = try folder.bytes(name(number))
      bytes[5] ^= 1
      try folder.write(bytes, to: name(number))
      #expect(try await failure { _ = try kit.readBack(note) }.code == .doesNotOpen, "share \(number)")
      try kit.discard(note)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
    }
  }

  @Test("the note reads back, and one that was changed is refused")
  func noteReadsBack() async throws {
    var note = try await note(5, 3)
    let name = try KeyName("offline")
    for isReady in [false, true] {
      note.isReady = isReady
      #expect(try RecoveryNote(parsing: note.text(of: name), of: name) == note)
    }
    let text = note.text(of: name)
    for wrong in ["", text.replacing("ready", with: "done"), text.replacing("shares: 5", with: "shares: 2")] {
      #expect(throws: KMSError.self) { try RecoveryNote(parsing: wrong, of: name) }
    }
    let other = try KeyName("other")
    #expect(try await failure { _ = try RecoveryNote(parsing: text, of: other) }.code == .outputExists)
  }
}

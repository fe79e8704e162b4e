import CryptoPrimitives
import Testing

@testable import AccessLog

/// Records come to the tree in the order in which their callers hash them.
@Suite struct LogTreeTests {
  private func record(_ number: UInt64) -> [UInt8] { Array("record \(number)".utf8) }

  private func inOrder(_ size: UInt64) -> MerkleFrontier {
    var frontier = MerkleFrontier()
    var hasher = TreeHasher()
    for number in 1...size { frontier.append(hasher.leaf(record(number).span), &hasher) }
    return frontier
  }

  @Test func theTreeIsTheSameInWhateverOrderRecordsCome() {
    let size: UInt64 = 2300
    let tree = LogTree(keyName: "log")
    var due: [Checkpoint] = []
    // As far out of order as 16 threads could be.
    for first in stride(from: 1, through: size, by: 16) {
      for number in (first...min(first + 15, size)).shuffled() { due += tree.add(record(number).span, number) }
    }
    #expect(tree.frontier(of: size) == inOrder(size))
    #expect(due.map(\.size) == [1000, 2000])
    var hasher = TreeHasher()
    #expect(due.map(\.root) == [1000, 2000].map { inOrder($0).root(&hasher) })
    #expect(tree.checkpoint(of: size)?.size == size)
    #expect(tree.checkpoint(of: size) == nil)  // nothing is new
  }

  /// A checkpoint of all waits for the record that is written and not hashed yet.
  @Test func whatIsWrittenIsWaitedFor() async {
    let tree = LogTree(keyName: "log")
    for number in UInt64(2)...9 { #expect(tree.add(record(number).span, number).isEmpty) }
    async let last = tree.checkpoint(of: 9)
    _ = tree.add(record(1).span, 1)
    #expect(
      await last?.root
        == {
          var hasher = TreeHasher()
          return inOrder(9).root(&hasher)
        }())
  }

  @Test func anEndedLogIsFollowedByAnother() {
    let tree = LogTree(keyName: "log")
    _ = tree.add(record(1).span, 1)
    let origin = tree.origin
    let last = tree.end(1)
    #expect(last.origin == origin && last.size == 1 && tree.origin != origin)
    #expect(tree.frontier(of: 0) == MerkleFrontier())
  }
}

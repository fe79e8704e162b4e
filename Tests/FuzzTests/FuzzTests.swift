import Foundation
import FuzzTargets
import Testing

/// Runs the corpus of Fixtures/fuzz, in which stands whatever Scripts/fuzz.sh once found, and changes of each file.
/// A finding ends the program.
@Suite struct FuzzTests {
  static let corpus = URL(filePath: #filePath).appending(path: "../../../Fixtures/fuzz").standardized

  @Test(arguments: FuzzTarget.allCases)
  func theCorpusAndItsChanges(_ target: FuzzTarget) throws {
    let folder = Self.corpus.appending(path: target.rawValue)
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
    #expect(files.count >= 3)
    var mutator = Mutator(state: 1)
    for file in files.sorted(by: { $0.path < $1.path }) {
      let bytes = Array(try Data(contentsOf: file))
      target.run(bytes)
      // A log is verified, proved and reported, 70 ms each time in a debug build.
      for _ in 0..<(target == .log ? 20 : 100) { target.run(mutator.change(bytes)) }
    }
  }
}

/// The same changes in every run.
struct Mutator {
  var state: UInt64

  private mutating func number(below limit: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int((state >> 33) % UInt64(max(1, limit)))
  }

  mutating func change(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    for _ in 0...number(below: 4) where !bytes.isEmpty {
      let place = number(below: bytes.count)
      switch number(below: 5) {
      case 0: bytes[place] ^= 1 << UInt8(number(below: 8))
      case 1: bytes[place] = [0, 0x1B, 0x5B, 0x7F, 0x80, 0x9F, 0xFF][number(below: 7)]
      case 2: bytes.removeLast(bytes.count - place)
      case 3: bytes.insert(contentsOf: bytes[place...].prefix(number(below: 64)), at: place)
      default: bytes.removeSubrange(place..<min(bytes.count, place + 1 + number(below: 16)))
      }
    }
    return bytes
  }
}

import Foundation
import InMemoryProvider
import KMSTesting
import Strongroom
import TestSupport
import Testing

/// Rotations that die at each of their steps.
@Suite(.timeLimit(.minutes(10)))
struct KilledRotationTests {
  @Test("SIGKILL at every step of a rotation, and then of its completion", arguments: Store.Kind.allCases)
  func everyStep(_ kind: Store.Kind) async throws {
    let store = try Store.make(kind)
    try await store.withManager { manager in
      try await manager.createKey(KeyName("k"))
      try await store.encrypt("first", with: manager)
    }
    var step = 0
    var interrupted = 0
    var status: Int32
    repeat {
      step += 1
      let killed = try await store.run("rotate", "\(step)")
      status = killed.status
      #expect(status == SIGKILL || status == 0, "\(killed.error)")
      let standing = try await store.withManager { try await $0.rotationPlans().first?.standing }
      if standing == .interrupted {
        // Its completion dies as well, each time a step later.
        interrupted += 1
        let killedAgain = try await store.run("due", "\(interrupted)")
        #expect(killedAgain.status == SIGKILL || killedAgain.status == 0, "\(killedAgain.error)")
      }
      try await store.expectRecovery(after: "\(kind), step \(step)")
    } while status == SIGKILL && step < 100
    #expect(status == 0, "no rotation survived")
    // Fewer would mean that the probe does not log what it does.
    #expect(step > 16 && interrupted > 8)
  }

  @Test("SIGKILL from outside at any moment", arguments: Store.Kind.allCases)
  func anyMoment(_ kind: Store.Kind) async throws {
    let store = try Store.make(kind)
    try await store.withManager { manager in
      try await manager.createKey(KeyName("k"))
      try await store.encrypt("first", with: manager)
    }
    for round in 1...12 {
      let (arguments, environment) = store.probe(["loop", "1000000", store.folder.path])
      let process = try RunningProcess(Store.probe, arguments, environment: environment)
      try await process.waitForLine { $0.hasPrefix("value") }
      try await Task.sleep(for: .microseconds(Int.random(in: 0...200_000)))
      let lines = try await process.kill()
      for (number, line) in lines.enumerated() where line.hasPrefix("value ") {
        // A line that was cut off was given to nobody.
        if let bytes = bytes(hex: line.dropFirst(6)), line.count > 200 {
          store.note(bytes, "\(process.id) \(number + 1)")
        }
      }
      try await store.expectRecovery(after: "\(kind), round \(round)")
    }
    #expect(store.sealed.count > 24)
  }

  @Test("keys in memory: cut off at every step, and again at every step of the completion, by a log that is gone")
  func inMemory() async throws {
    let key = try KeyName("k")
    var step = -1
    var hasSurvived = false
    while !hasSurvived {
      step += 1
      try #require(step < 40, "no rotation survived")
      for second in 0..<40 {
        let provider = InMemoryProvider(name: "memory")
        let configuration = try DataAtRestConfig(kmsKeyID: "k")
        /// As a new process would have it, but for the provider, which is the only place of the keys.
        func manager(_ reporter: RecordingReporter = RecordingReporter()) throws -> DataAtRestManager {
          try DataAtRestManager(providers: [provider], configuration: configuration, reporter: reporter)
        }
        let first = try manager()
        try await first.createKey(key)
        let before = try await first.encrypt("before")

        let reporter = RecordingReporter()
        reporter.fail(from: step)
        hasSurvived = (try? await manager(reporter).rotate(key, reason: "test")) != nil
        let middle = try manager()
        let between = try await middle.encrypt("between")
        #expect(try await middle.decryptString(before) == "before")

        let again = RecordingReporter()
        again.fail(from: second)
        let completion = try? await manager(again).rotateDue()
        let last = try manager()
        #expect(try await last.decryptString(between) == "between", "\(step) \(second)")
        let results = try await last.rotateDue()
        #expect(results.map(\.error?.code) == [nil])
        let active = try await provider.keyVersions(of: key).filter { $0.state == .active }
        #expect(active.count == 1, "\(step) \(second): \(active)")
        for (value, text) in [(before, "before"), (between, "between")] {
          #expect(try await last.decryptString(value) == text)
        }
        if let completion, completion.allSatisfy({ $0.error == nil }) { break }
        #expect(second < 39, "no completion survived")
      }
    }
    // Fewer would mean that a rotation does not log what it does.
    #expect(step > 8)
  }
}

func bytes(hex: some StringProtocol) -> [UInt8]? {
  let digits = Array(hex.utf8)
  guard digits.count.isMultiple(of: 2) else { return nil }
  var bytes: [UInt8] = []
  for i in stride(from: 0, to: digits.count, by: 2) {
    guard let byte = UInt8(String(decoding: digits[i...i + 1], as: UTF8.self), radix: 16) else { return nil }
    bytes.append(byte)
  }
  return bytes
}

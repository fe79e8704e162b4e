import Foundation
internal import HeapMeter
internal import KMSCore
internal import PKCS11Provider
internal import Synchronization

/// Eight tasks use a token for a set time while it misbehaves by chance (Scripts/soak.sh):
///
///     Soak SECONDS MODULE CONTROL-FILE TOKEN PIN-FILE [ordinary|late]
///
/// Fails when an answer was wrong, sessions or objects were left, memory grew, calls hang still, or the token was not
/// back at the end.
@main struct Soak {
  static func main() async throws {
    let arguments = CommandLine.arguments
    guard (6...7).contains(arguments.count), let seconds = Int(arguments[1]),
      let mood = Faults.Mood(rawValue: arguments.count > 6 ? arguments[6] : "ordinary")
    else {
      print("usage: Soak SECONDS MODULE CONTROL-FILE TOKEN PIN-FILE [ordinary|late]")
      exit(2)
    }
    let pin = try String(contentsOfFile: arguments[5], encoding: .utf8).trimmingCharacters(in: .newlines)
    let provider = PKCS11Provider(
      PKCS11Configuration(
        name: "soak", tokens: [try PKCS11URI(parsing: "pkcs11:token=\(arguments[4])?module-path=\(arguments[2])")],
        pin: SecretSource(description: arguments[5]) { SecretBytes(copying: Array(pin.utf8).span) },
        deadline: mood.deadline, reopenInterval: .milliseconds(200)))
    let faults = Faults(path: arguments[3], mood: mood)
    try faults.none()
    let keys = [KeyVersionID.make(), .make()]
    for (name, id) in zip(["one", "two"], keys) { try await make(name, id, provider) }
    let strayBefore = try await eventually { try await provider.strayObjectCount() }
    let census = Census()
    let end = ContinuousClock.now + .seconds(seconds)
    var memory: [Memory] = []
    while ContinuousClock.now < end {
      let pause = min(end, .now + .seconds(5))
      try await withThrowingTaskGroup(of: Void.self) { group in
        for i in 0..<8 {
          group.addTask {
            while ContinuousClock.now < pause { await use(provider, keys[i % 2], keys[(i + 1) % 2], census) }
          }
        }
        group.addTask {
          while ContinuousClock.now < pause {
            try faults.change()
            try await Task.sleep(for: .milliseconds(.random(in: 100...1500)))
          }
        }
        try await group.waitForAll()
      }
      memory.append(try await memoryAnew(provider, faults, keys[0]))
      if memory.count % 12 == 0 { print("\(memory.count * 5) s: \(census), \(memory[memory.count - 1])") }
    }

    try faults.none()
    let back = await secondsUntilBack(provider, keys[0])
    let objects = try await eventually { try await provider.sessionObjectCount() }
    let stray = try await eventually { try await provider.strayObjectCount() } - strayBefore
    let sessions = faults.openSessions
    let isHanging = await provider.health().detail.contains("hang")
    await provider.close()
    let left = await sessionsLeft(faults)
    let (before, after) = (Memory.median(memory, third: 1), Memory.median(memory, third: 2))
    print("\(census)")
    print("session objects left: \(objects); objects left on the token: \(stray)")
    print(
      "sessions: \(sessions) while idle (9 at most), \(left) after closing; calls hang: \(isHanging ? "yes" : "no")")
    print("memory: \(before) in the second third, \(after) in the last")
    print("back after the last fault: \(back.map { "\($0) s" } ?? "no")")
    let isGood =
      census.wrong == 0 && census.right > 0 && objects == 0 && stray == 0 && sessions <= 9 && left == 0
      && !isHanging && after.heapKiB - before.heapKiB < 4096 && back != nil
      // Threads that are left behind have stacks, and malloc arenas for them: how many there are is chance.
      && (mood == .late || after.residentKiB - before.residentKiB < 4096)
    print(isGood ? "good" : "NOT GOOD")
    exit(isGood ? 0 : 1)
  }

  /// Wraps and unwraps, and now and then rewraps or does what no provider may take.
  private static func use(
    _ provider: PKCS11Provider, _ key: KeyVersionID, _ other: KeyVersionID, _ census: Census
  ) async {
    let secret = SecretBytes.random(count: 32)
    do {
      var wrapped = try await provider.wrap(secret, under: key, aad: [1])
      var holder = key
      if Int.random(in: 0..<8) == 0 {
        let request = RewrapRequest(wrapped, thumbprint: [UInt8](repeating: 0, count: 32), aad: [1])
        if case .success = try await provider.rewrap([request], from: key, to: other)[0] {
          census.count(isRight: false)
        }
      }
      if Int.random(in: 0..<50) == 0 {
        (wrapped, holder) = (try await provider.wrap(secret, under: other, aad: [1]), other)
      }
      let back = try await provider.unwrap(wrapped, under: holder, aad: [1])
      census.count(isRight: back.equals(secret))
    } catch let error as KMSError {
      census.count(error)
      try? await Task.sleep(for: .milliseconds(1))  // what fails at once must not be all that is done
    } catch { census.count(isRight: false) }
    await Task.yield()
  }

  /// What is held after the module was ended and started anew, as SoftHSM frees what it had for a session's objects (240
  /// bytes each, measured) only then.
  private static func memoryAnew(_ provider: PKCS11Provider, _ faults: Faults, _ key: KeyVersionID) async throws
    -> Memory
  {
    try faults.restart()
    _ = await secondsUntilBack(provider, key)
    try faults.none()
    heap_give_back()
    return Memory()
  }

  /// With a short deadline, threads that were left behind close the last ones.
  private static func sessionsLeft(_ faults: Faults) async -> Int {
    for _ in 0..<100 where faults.openSessions != 0 { try? await Task.sleep(for: .milliseconds(50)) }
    return faults.openSessions
  }

  private static func secondsUntilBack(_ provider: PKCS11Provider, _ key: KeyVersionID) async -> Int? {
    var last: (any Error)?
    for second in 0...35 {
      let secret = SecretBytes.random(count: 32)
      do {
        let wrapped = try await provider.wrap(secret, under: key, aad: [1])
        if try await provider.unwrap(wrapped, under: key, aad: [1]).equals(secret) { return second }
      } catch { last = error }
      try? await Task.sleep(for: .seconds(1))
    }
    print("The token is not used again: \(last.map { "\($0)" } ?? "what it unwraps is wrong")")
    return nil
  }

  /// With a short deadline, opening the token may take some.
  private static func eventually<Value>(_ body: () async throws -> Value) async throws -> Value {
    for _ in 0..<100 {
      if let value = try? await body() { return value }
      try await Task.sleep(for: .milliseconds(350))
    }
    return try await body()
  }

  private static func make(_ name: String, _ id: KeyVersionID, _ provider: PKCS11Provider) async throws {
    let key = try KeyName(name)
    try await eventually {
      if try await provider.keyVersions(of: key).isEmpty {
        _ = try await provider.createKeyVersion(NewKeyVersion(key: key, id: id))
      }
    }
  }
}

/// What the process holds.
struct Memory: CustomStringConvertible {
  /// Given out by malloc: what grows when something is lost.
  let heapKiB: Int
  /// With the stacks of threads that are left behind, and what their arenas keep.
  let residentKiB: Int

  init() {
    let fields = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8))?.split(separator: " ")
    residentKiB = (fields.flatMap { $0.count > 1 ? Int($0[1]) : nil } ?? 0) * 4
    heapKiB = Int(heap_in_use()) / 1024
  }

  private init(heapKiB: Int, residentKiB: Int) { (self.heapKiB, self.residentKiB) = (heapKiB, residentKiB) }

  /// The first third warms up: pools fill, allocators keep what they got.
  static func median(_ samples: [Memory], third: Int) -> Memory {
    let part = samples.dropFirst(samples.count / 3 * third).prefix(samples.count / 3)
    func median(_ values: [Int]) -> Int { values.isEmpty ? 0 : values.sorted()[values.count / 2] }
    return Memory(heapKiB: median(part.map(\.heapKiB)), residentKiB: median(part.map(\.residentKiB)))
  }

  var description: String { "\(heapKiB) KiB allocated, \(residentKiB) KiB resident" }
}

/// What came of the calls.
final class Census: Sendable, CustomStringConvertible {
  private struct Counts {
    var right = 0
    var wrong = 0
    var errors: [String: Int] = [:]
  }
  private let counts = Mutex(Counts())

  var right: Int { counts.withLock { $0.right } }
  var wrong: Int { counts.withLock { $0.wrong } }

  func count(isRight: Bool) { counts.withLock { if isRight { $0.right += 1 } else { $0.wrong += 1 } } }

  func count(_ error: KMSError) { counts.withLock { $0.errors["\(error.code)", default: 0] += 1 } }

  var description: String {
    counts.withLock { counts in
      let errors = counts.errors.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
      return "\(counts.right) right, \(counts.wrong) wrong, errors: \(errors.isEmpty ? "none" : errors)"
    }
  }
}

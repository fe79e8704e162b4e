internal import KMSCore
internal import PKCS11
internal import Synchronization

extension Examiner {
  /// As many as fit into a second, 1000 at most.
  func measureCalls() {
    let algorithm = result.withLock { $0.algorithm }
    measure("C_GenerateRandom, 16 bytes") { session throws(CallFailure) in _ = try session.random(16) }
    guard algorithm == .a256KW, let kek = try? session.generateProbe(encrypts: false) else { return }
    defer { session.destroyQuietly(kek) }
    let secret = SharedSecret(.random(count: 32))
    var wrapped: [UInt8] = []
    measure("wrap a key") { session throws(CallFailure) in wrapped = try session.wrap(secret.bytes, under: kek) }
    measure("unwrap a key") { session throws(CallFailure) in _ = try session.unwrap(wrapped, under: kek) }
  }

  private func measure(_ call: String, _ body: (Session) throws(CallFailure) -> Void) {
    var times: [Double] = []
    let start = ContinuousClock.now
    while times.count < 1000, ContinuousClock.now - start < .seconds(1) {
      let before = ContinuousClock.now
      do throws(CallFailure) { try body(session) } catch {
        note("\(call) fails now and then: \(error.function): \(error.returned)")
        break
      }
      times.append((ContinuousClock.now - before) / .microseconds(1))
    }
    guard !times.isEmpty else { return }
    times.sort()
    let latency = TokenExamination.Latency(
      call: call, median: times[times.count / 2], p99: times[times.count * 99 / 100], slowest: times[times.count - 1])
    result.withLock { $0.latencies.append(latency) }
  }

  /// Wraps by one to eight threads, each in a session and with a key of its own.
  func measureScaling(_ deadline: Duration) async throws {
    guard result.withLock({ $0.algorithm }) == .a256KW else { return }
    for threads in [1, 2, 4, 8] where threads < result.withLock({ $0.sessions.count }) {
      let counts = try await withThrowingTaskGroup(of: Int?.self) { group in
        for _ in 0..<threads {
          let lane = Lane(pace: Pace(isFast: false))
          try Watchdog.shared.watch(lane, deadline: deadline)
          group.addTask { [self] in try await lane.run(until: .now + deadline) { self.wrapFor(Self.time) } }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      guard !counts.contains(nil) else {
        return note("a call hangs when \(threads) threads wrap")
      }
      let perSecond = Double(counts.compactMap(\.self).reduce(0, +)) / (Self.time / .seconds(1))
      result.withLock { $0.scaling.append((threads, perSecond)) }
    }
  }

  private static let time = Duration.milliseconds(300)

  private func wrapFor(_ time: Duration) -> Int {
    let profile = session.profile
    guard let own = try? Session(module: module, slot: token.slot, profile: profile),
      let kek = try? own.generateProbe(encrypts: false)
    else { return 0 }
    defer { own.destroyQuietly(kek) }
    let secret = SharedSecret(.random(count: 32))
    let end = ContinuousClock.now + time
    var count = 0
    while ContinuousClock.now < end {
      guard (try? own.wrap(secret.bytes, under: kek)) != nil else { break }
      count += 1
    }
    return count
  }
}

import Telemetry

/// What came of one thing that was done again and again.
struct Measured {
  let callers: Int
  let perSecond: Double
  /// Microseconds.
  let median: Double
  let p99: Double
}

/// Does `body` in as many tasks as there are callers for so long, after a tenth of that to warm up.
///
/// - Parameter body: gets the caller's number.
func measure(
  callers: Int, for duration: Duration, _ body: @escaping @Sendable (Int) async throws -> Void
) async throws -> Measured {
  _ = try await latencies(callers: callers, for: duration / 10, body)
  let start = ContinuousClock.now
  let times = try await latencies(callers: callers, for: duration, body)
  let seconds = (ContinuousClock.now - start) / .seconds(1)
  return Measured(
    callers: callers, perSecond: Double(times.count) / seconds, median: Double(times.percentile(0.5)) / 1000,
    p99: Double(times.percentile(0.99)) / 1000)
}

private func latencies(
  callers: Int, for duration: Duration, _ body: @escaping @Sendable (Int) async throws -> Void
) async throws -> LatencyHistogram {
  try await withThrowingTaskGroup(of: LatencyHistogram.self) { group in
    for caller in 0..<callers {
      group.addTask {
        var times = LatencyHistogram()
        var last = ContinuousClock.now
        let end = last + duration
        repeat {
          try await body(caller)
          let now = ContinuousClock.now
          times.add(nanoseconds: UInt64((now - last) / .nanoseconds(1)))
          last = now
        } while last < end
        return times
      }
    }
    return try await group.reduce(into: LatencyHistogram()) { $0.add($1) }
  }
}

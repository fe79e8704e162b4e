import KMSCore

/// Counts over a period in steps of equal length, 96 at most.
struct Timeline: Sendable, Hashable {
  /// Seconds of a step: a minute, or what makes a clock's face.
  let step: Int64
  private let begin: Int64
  private let end: Int64
  private var counts: [Tally.Count]

  private static let most: Int64 = 96

  init(from since: Timestamp, to now: Timestamp) {
    let period = max(1, now.seconds - since.seconds)
    let lengths: [Int64] = [60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400]
    let days = (period / 86_400 / Self.most + 2) * 86_400
    step = lengths.first { period / $0 + 2 <= Self.most } ?? days
    begin = since.seconds - since.seconds.modulo(step)
    end = now.seconds
    counts = Array(repeating: Tally.Count(), count: Int(max(0, (end - begin) / step)) + 1)
  }

  mutating func add(_ time: Timestamp, _ times: Int, success: Bool) {
    let index = Int((time.seconds - begin) / step)
    if counts.indices.contains(index) { counts[index].add(times, success: success) }
  }

  var steps: [(begin: Timestamp, count: Tally.Count)] {
    counts.enumerated().map { (Timestamp(seconds: begin + Int64($0) * step), $1) }
  }

  /// Operations a second in the step with most of them.
  var highestRate: Double { Double(counts.map(\.total).max() ?? 0) / Double(min(step, max(1, end - begin))) }
}

extension Int64 {
  /// From 0 to `divisor - 1`, also for seconds before 1970.
  func modulo(_ divisor: Int64) -> Int64 {
    let rest = self % divisor
    return rest < 0 ? rest + divisor : rest
  }
}

/// Tells a clock that was set back from an event that is late.
struct LateEvents: Sendable {
  private var count = 0
  /// So many in a row are not late.
  private static let most = 16

  mutating func isClockSetBack(_ isLate: Bool) -> Bool {
    count = isLate ? count + 1 : 0
    guard count >= Self.most else { return false }
    count = 0
    return true
  }
}

/// Failures and all in the last five minutes, by half minutes.
struct FailureWindow: Sendable {
  private static let parts = 10
  private static let width = AlertSettings.window / Int64(parts)
  private var all = InlineArray<10, UInt32>(repeating: 0)
  private var failed = InlineArray<10, UInt32>(repeating: 0)
  private var newest = Int64.min
  private var late = LateEvents()

  /// The sums after a failure; nil after a success, which is never the last straw.
  mutating func add(second: Int64, count: Int, failed isFailure: Bool) -> (failed: Int, all: Int)? {
    let part = (second - second.modulo(Self.width)) / Self.width
    if part > newest {
      let gone = newest == .min ? Int64(Self.parts) : min(part - newest, Int64(Self.parts))
      for i in 0..<gone {
        let index = Int((part - i).modulo(Int64(Self.parts)))
        all[index] = 0
        failed[index] = 0
      }
      newest = part
    }
    let isLate = part <= newest - Int64(Self.parts)
    if late.isClockSetBack(isLate) {
      self = Self()
      return add(second: second, count: count, failed: isFailure)
    }
    guard !isLate else { return nil }
    let index = Int(part.modulo(Int64(Self.parts)))
    all[index] &+= UInt32(clamping: count)
    guard isFailure else { return nil }
    failed[index] &+= UInt32(clamping: count)
    var sums = (failed: 0, all: 0)
    for i in 0..<Self.parts {
      sums.failed += Int(failed[i])
      sums.all += Int(all[i])
    }
    return sums
  }
}

internal import CLinux
internal import Synchronization

/// Whether a token answers so fast that calls run on the thread that asks. Measured when the token is opened, and by
/// every call since.
package final class Pace: Sendable {
  /// A change of threads and back costs about 30 µs here.
  private static let fastest: UInt64 = 30_000
  /// Longer ones would starve the pool of threads that all tasks share.
  private static let longest: UInt64 = 500_000
  /// No other process can be asked and have answered by then.
  private static let alone: UInt64 = 5_000
  private static let slowCalls = 3
  private static let fastCalls = 16

  private let isFastToken: Atomic<Bool>
  private let isHere = Atomic(false)
  /// Calls in a row that contradict ``isFastToken``.
  private let contrary = Atomic(0)

  /// - Parameter isFast: until it is measured.
  package init(isFast: Bool) { isFastToken = Atomic(isFast) }

  /// Whether calls run on the thread that asks.
  package var isFast: Bool { isFastToken.load(ordering: .relaxed) }

  /// The same for a call that is worth so many: a long one is worth a change of threads in any case.
  func isFast(_ weight: UInt64) -> Bool { isFast && weight <= 4 }

  /// Whether the token is in this process for certain, and so no client of a server that may die.
  var isInProcess: Bool { isHere.load(ordering: .relaxed) }

  /// Settled by the simplest call, in nanoseconds.
  package func settle(simplestCall nanoseconds: UInt64) {
    isHere.store(nanoseconds <= Self.alone, ordering: .relaxed)
    isFastToken.store(nanoseconds <= Self.fastest, ordering: .relaxed)
  }

  /// What a call took.
  func took(_ nanoseconds: UInt64) {
    let isFast = isFast
    guard (nanoseconds <= Self.longest) != isFast else {
      if contrary.load(ordering: .relaxed) != 0 { contrary.store(0, ordering: .relaxed) }
      return
    }
    let count = contrary.wrappingAdd(1, ordering: .relaxed).newValue
    guard count >= (isFast ? Self.slowCalls : Self.fastCalls) else { return }
    isFastToken.store(!isFast, ordering: .relaxed)
    contrary.store(0, ordering: .relaxed)
  }

  /// A call hangs.
  func stop() { isFastToken.store(false, ordering: .relaxed) }
}

/// The threads of the pool that all tasks share which calls may hold at once: one is left, so that a token that
/// hangs cannot stop the process.
enum Seats {
  private static let free = Semaphore(max(0, Int(linux_usable_processors()) - 1))

  /// For a moment it waits: tokens in software make one call at a time anyway, and let the next wait as well.
  static func take() -> Bool { free.wait(atMost: 1_000_000) }
  static func giveBack() { free.signal() }
}

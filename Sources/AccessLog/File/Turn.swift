internal import CLinux
import Synchronization

/// Whose turn it is to write: all callers look at this, so it has lines of memory of its own.
///
/// Who takes a turn and who queues up each say so before they look at the other's word: then one of them sees the
/// other, and nobody waits in the queue of a log that nobody writes.
final class Turn: Sendable {
  private let before = InlineArray<16, UInt64>(repeating: 0)
  private let isTaken = Atomic(false)
  private let between = InlineArray<16, UInt64>(repeating: 0)
  private let hasQueue = Atomic(false)
  private let isLong = Atomic(false)
  private let after = InlineArray<16, UInt64>(repeating: 0)

  // 10 to 40 µs, as processors have it. A write takes 2, and being suspended and resumed many more.
  private static let looks = 150

  /// Somebody waits in the queue.
  var isWaitedFor: Bool { hasQueue.load(ordering: .sequentiallyConsistent) }

  func setWaitedFor(_ isSo: Bool) {
    if hasQueue.load(ordering: .relaxed) != isSo { hasQueue.store(isSo, ordering: .sequentiallyConsistent) }
  }

  /// A write may take long: the log's own thread has the turns.
  var takesLong: Bool { isLong.load(ordering: .relaxed) }

  func setTakesLong(_ isSo: Bool) {
    if isLong.load(ordering: .relaxed) != isSo { isLong.store(isSo, ordering: .relaxed) }
  }

  /// Whether it is the caller's, until ``release()``.
  func take() -> Bool {
    !isTaken.load(ordering: .sequentiallyConsistent)
      && isTaken.compareExchange(expected: false, desired: true, ordering: .sequentiallyConsistent).exchanged
  }

  /// The same for one that can look for some microseconds, where a turn is short.
  func takeSoon() -> Bool {
    for _ in 0..<Self.looks {
      if takesLong { return false }
      // Without a look before: that would fetch the line of memory twice.
      if isTaken.compareExchange(expected: false, desired: true, ordering: .sequentiallyConsistent).exchanged {
        return true
      }
      for _ in 0..<4 { linux_pause() }
    }
    return false
  }

  /// Whether it is to be taken again at once, as somebody waits in the queue; it is taken then.
  func release() -> Bool {
    isTaken.store(false, ordering: .sequentiallyConsistent)
    return isWaitedFor && take()
  }
}

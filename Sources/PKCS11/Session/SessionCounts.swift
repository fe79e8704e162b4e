internal import Synchronization

extension SessionPool {
  /// Sessions now: open, in use, and most that are opened. The one that logged in does no work, and is not counted.
  package var counts: (open: Int, busy: Int, limit: Int) {
    state.withLock { ($0.openCount, min($0.inUse, $0.openCount), $0.limit) }
  }
}

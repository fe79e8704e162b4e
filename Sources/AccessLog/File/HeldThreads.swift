internal import CLinux
import Synchronization

/// Threads that tasks share and that writes hold: disks that stand may hold all of them but one.
///
/// A log holds one at most. So they are counted only where there are as many logs as processors: the count is a word
/// that all processors would wait for at each write.
enum HeldThreads {
  static let processors = max(1, Int(linux_usable_processors()))
  private static let logs = Atomic(0)
  private static let free = Atomic(processors - 1)

  struct Hold {
    fileprivate let isCounted: Bool
  }

  static func logOpened() { logs.add(1, ordering: .relaxed) }
  static func logClosed() { logs.subtract(1, ordering: .relaxed) }

  /// Nil when none can be spared. To be given back.
  static func take() -> Hold? {
    if logs.load(ordering: .relaxed) < processors { return Hold(isCounted: false) }
    let hold = Hold(isCounted: true)
    if free.subtract(1, ordering: .relaxed).newValue >= 0 { return hold }
    giveBack(hold)
    return nil
  }

  static func giveBack(_ hold: Hold) {
    if hold.isCounted { free.add(1, ordering: .relaxed) }
  }
}

package import KMSCore
internal import Synchronization

/// Something whose deadlines pass.
package protocol Watched: AnyObject, Sendable {
  /// Lets go whoever has waited too long.
  func expire(_ now: Moment)
}

extension Lane: Watched {}

/// One thread of the process looks after all deadlines, so that a call costs nothing for its own.
package final class Watchdog: Sendable {
  package static let shared = Watchdog()

  private struct Entry {
    weak var watched: (any Watched)?
    let period: UInt64
  }

  private struct State {
    var entries: [Entry] = []
    var hasThread = false
  }

  private let state = Mutex(State())
  private let changed = Semaphore(0)

  private init() {}

  private func keepLooking() {
    while true {
      if let period = look() { _ = changed.wait(atMost: period) } else { changed.wait() }
    }
  }

  /// - Returns: nanoseconds until the next look; nil when there is nothing to look at.
  private func look() -> UInt64? {
    let (alive, period) = state.withLock { state in
      state.entries.removeAll { $0.watched == nil }
      return (state.entries.compactMap(\.watched), state.entries.map(\.period).min())
    }
    let now = Moment.now
    for watched in alive { watched.expire(now) }
    return period
  }

  /// - Parameter deadline: of its calls. They end within a sixteenth more.
  /// - Throws: ``KMSError/Code/providerUnavailable`` when there is no thread to look.
  package func watch(_ watched: any Watched, deadline: Duration) throws(KMSError) {
    let period = (Moment(nanoseconds: 0) + deadline).nanoseconds / 16
    try state.withLock { state throws(KMSError) in
      if !state.hasThread { try startThread { [self] in keepLooking() } }
      state.hasThread = true
      state.entries.append(Entry(watched: watched, period: min(max(period, 1_000_000), 1_000_000_000)))
    }
    changed.signal()
  }
}

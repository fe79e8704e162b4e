import Glibc
import Strongroom
import Synchronization

/// The access log, and the death of its process at the n-th step: just before an event is taken (so that what was done
/// is in no log), or just after (so that what was announced is not done).
final class KillingReporter: AccessReporter {
  private let base: any AccessReporter
  private let last: Int
  private let steps = Atomic(0)

  /// - Parameter last: number of the fatal step, from 1; 0 for none.
  init(_ base: any AccessReporter, at last: Int) {
    self.base = base
    self.last = last
  }

  func report(_ event: AccessEvent) async throws {
    step()
    try await base.report(event)
    step()
  }

  private func step() {
    guard steps.add(1, ordering: .relaxed).newValue == last else { return }
    kill(getpid(), SIGKILL)
  }
}

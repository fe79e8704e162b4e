internal import CLinux
internal import Glibc
internal import KMSCore

/// A moment on the monotonic clock.
package struct Moment: Sendable, Comparable {
  /// Since the machine's start.
  let nanoseconds: UInt64

  package static var now: Moment {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)  // `time` outlives the call
    return Moment(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
  }

  package static func < (a: Moment, b: Moment) -> Bool { a.nanoseconds < b.nanoseconds }

  package static func + (moment: Moment, duration: Duration) -> Moment {
    let (sum, isTooMuch) = moment.nanoseconds.addingReportingOverflow(duration.wholeNanoseconds)
    return Moment(nanoseconds: isTooMuch ? .max : sum)  // for ever
  }

  /// Nanoseconds from `earlier` to here; 0 when it is later.
  static func - (moment: Moment, earlier: Moment) -> UInt64 {
    moment < earlier ? 0 : moment.nanoseconds - earlier.nanoseconds
  }
}

/// A POSIX semaphore.
@safe
final class Semaphore: @unchecked Sendable {  // sem_t is made to be shared
  private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

  init(_ count: Int) {
    unsafe sem_init(semaphore, 0, UInt32(count))  // ours, and not shared with other processes
  }

  deinit {
    unsafe sem_destroy(semaphore)  // nobody waits: all hold a reference
    unsafe semaphore.deallocate()  // and nobody comes
  }

  func signal() {
    unsafe sem_post(semaphore)  // lives as long as self
  }

  func wait() {
    while unsafe sem_wait(semaphore) != 0 {}  // lives as long as self; EINTR
  }

  /// Whether there was a count to take within the time.
  func wait(atMost nanoseconds: UInt64) -> Bool {
    if unsafe sem_trywait(semaphore) == 0 { return true }  // lives as long as self
    return unsafe linux_semaphore_wait(semaphore, Int(clamping: nanoseconds)) == 1  // as above
  }
}

internal import CLinux
internal import Glibc

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
    let (seconds, attoseconds) = duration.components
    return Moment(
      nanoseconds: moment.nanoseconds &+ UInt64(max(0, seconds)) &* 1_000_000_000
        &+ UInt64(max(0, attoseconds)) / 1_000_000_000)
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

  init(_ count: Int) { unsafe sem_init(semaphore, 0, UInt32(count)) }

  deinit {
    unsafe sem_destroy(semaphore)
    unsafe semaphore.deallocate()
  }

  func signal() { unsafe sem_post(semaphore) }

  func wait() { while unsafe sem_wait(semaphore) != 0 {} }  // EINTR

  /// Whether there was a count to take within the time.
  func wait(atMost nanoseconds: UInt64) -> Bool {
    if unsafe sem_trywait(semaphore) == 0 { return true }
    return unsafe linux_semaphore_wait(semaphore, Int(clamping: nanoseconds)) == 1
  }
}

/// Starts a thread that nobody joins, without SIGPIPE: a remote token's client raises it when its server dies.
func startThread(_ body: @escaping @Sendable () -> Void) {
  final class Start: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var attributes = pthread_attr_t()
  var thread = pthread_t()
  unsafe pthread_attr_init(&attributes)
  unsafe pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
  let start = unsafe Unmanaged.passRetained(Start(body))
  let failed = unsafe pthread_create(
    &thread, &attributes,
    { argument in
      var pipe = sigset_t()
      unsafe sigemptyset(&pipe)
      unsafe sigaddset(&pipe, SIGPIPE)
      unsafe pthread_sigmask(SIG_BLOCK, &pipe, nil)
      unsafe Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue().body()  // passed retained, below
      return nil
    }, start.toOpaque())
  unsafe pthread_attr_destroy(&attributes)
  guard failed == 0 else { fatalError("no thread can be started: \(failed)") }
}

internal import CLinux
internal import Glibc
public import Synchronization

/// State of which each processor has its own, so that callers on two processors wait for nothing of each other's:
/// neither a lock nor the line of memory that it is in.
///
/// Public, as only then it is specialised where other modules use it; no product holds this module.
@safe
public final class Striped<State>: @unchecked Sendable {  // each stripe is locked
  // Not an array, whose reference all processors would count.
  @usableFromInline let stripes: UnsafeMutablePointer<Stripe<State>>
  @usableFromInline let count: Int

  /// - Parameter make: the state that a processor begins with.
  public init(_ make: () -> sending State) {
    count = stripeCount
    unsafe stripes = UnsafeMutablePointer.allocate(capacity: count)  // freed in deinit
    for i in 0..<count { unsafe (stripes + i).initialize(to: Stripe(make())) }  // within the capacity
  }

  deinit {
    unsafe stripes.deinitialize(count: count)  // as many as were made
    unsafe stripes.deallocate()  // nobody uses it any more
  }

  /// With the state of the processor that this runs on. Another thread may hold it, should this one be moved.
  @inlinable
  public func withLock<Result>(_ body: (inout sending State) throws -> sending Result) rethrows -> sending Result {
    try unsafe stripes[currentProcessor() & (count - 1)].state.withLock(body)  // a power of two
  }

  /// With each state in turn.
  @inlinable
  public func withEachLock(_ body: (inout sending State) -> Void) {
    for i in 0..<count { unsafe stripes[i].state.withLock { body(&$0) } }  // as many as were made
  }
}

@usableFromInline
struct Stripe<State>: ~Copyable {
  @usableFromInline let state: Mutex<State>
  // The next stripe begins on another line of memory.
  private let padding = InlineArray<16, UInt64>(repeating: 0)

  init(_ state: consuming sending State) { self.state = Mutex(state) }
}

// A power of two, as a division costs as much as the lock.
private let stripeCount = {
  let processors = max(1, min(64, sysconf(CInt(_SC_NPROCESSORS_CONF))))
  return 1 << (Int.bitWidth - (processors - 1).leadingZeroBitCount)
}()

@usableFromInline
func currentProcessor() -> Int { Int(linux_processor()) }

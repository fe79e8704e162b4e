internal import CLinux
internal import Glibc
public import Synchronization

/// State of which each processor has its own, so that callers on two processors wait for nothing of each other's:
/// neither a lock nor the line of memory that it is in.
///
/// Public, as only then it is specialised where other modules use it; no product holds this module.
public final class Striped<State>: Sendable {
  @usableFromInline let stripes: [Stripe<State>]

  /// - Parameter make: the state that a processor begins with.
  public init(_ make: () -> sending State) {
    stripes = (0..<stripeCount).map { _ in Stripe(make()) }
  }

  /// With the state of the processor that this runs on. Another thread may hold it, should this one be moved.
  @inlinable
  public func withLock<Result>(_ body: (inout sending State) throws -> sending Result) rethrows -> sending Result {
    try stripes[currentProcessor() & (stripes.count - 1)].state.withLock(body)
  }

  /// With each state in turn.
  @inlinable
  public func withEachLock(_ body: (inout sending State) -> Void) {
    for stripe in stripes { stripe.state.withLock { body(&$0) } }
  }
}

@usableFromInline
final class Stripe<State>: Sendable {
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

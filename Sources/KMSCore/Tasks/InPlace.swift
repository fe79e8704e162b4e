internal import Glibc

/// Work that a thread does in place of the task that asked for it. The task is suspended before, so anybody can let it
/// go on while the thread is stuck in the work.
package protocol InPlaceWork: AnyObject, Sendable {
  /// Does the work. Who is to go on afterwards, on this thread; nil when the task has gone on without it.
  func work() -> UnownedJob?
}

package enum InPlace {
  /// Whether the thread may be held that a caller is on. The main actor, and any other with an executor of its own, may
  /// have this one only: whoever is to go on there cannot while it stands. Others share the pool's threads.
  package static func mayHoldThread(of isolation: (any Actor)?) -> Bool {
    guard let isolation else { return true }
    // An executor is a pair of words; for the pool's own, the second one, which says how to reach it, is zero.
    return unsafe unsafeBitCast(isolation.unownedExecutor, to: (UInt, UInt).self).1 == 0  // only compared
  }

  /// Where work that the going-on task asks for next is put, so that the stack does not grow with each.
  private static let next: pthread_key_t = {
    var key = pthread_key_t()
    unsafe pthread_key_create(&key, nil)  // `key` outlives the call
    return key
  }()

  /// To be called by an executor in `enqueue`, which the thread does that the task has just left.
  package static func run(_ work: any InPlaceWork) {
    typealias Slot = (any InPlaceWork)?
    let outer = unsafe pthread_getspecific(Self.next)?.assumingMemoryBound(to: Slot.self)  // only we set it, below
    if let outer = unsafe outer, unsafe outer.pointee == nil {  // it is further up this stack
      unsafe outer.pointee = work  // the loop below takes it
      return
    }
    var next: Slot = work
    unsafe withUnsafeMutablePointer(to: &next) { slot in  // removed from the thread before it goes
      unsafe pthread_setspecific(Self.next, slot)  // for this loop
      while let work = unsafe slot.pointee {  // `next`
        unsafe slot.pointee = nil  // as above
        // The task goes on as it was: as on the generic executor, which the standard library, too, names by two zeros.
        unsafe work.work()?.runSynchronously(  // see above
          on: unsafeBitCast((UInt(0), UInt(0)), to: UnownedSerialExecutor.self))
      }
      unsafe pthread_setspecific(Self.next, outer)  // `next` goes
    }
  }
}

extension SerialExecutor {
  /// For `enqueue`: the executor lives while `body` runs. The task may go on meanwhile, and take the last reference along.
  package func stays(_ body: () -> Void) {
    let held = unsafe hold()
    defer { unsafe Self.letGo(held) }  // held above
    body()
  }

  // Not inlined, or the pair would be removed as one that does nothing.
  @inline(never)
  private func hold() -> Unmanaged<Self> { unsafe Unmanaged.passRetained(self) }  // released by `letGo`
  @inline(never)
  private static func letGo(_ executor: Unmanaged<Self>) { unsafe executor.release() }  // retained by `hold`
}

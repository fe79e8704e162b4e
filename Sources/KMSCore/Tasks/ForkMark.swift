internal import Glibc
internal import Synchronization

/// Tells a process from those that it was forked from, at the price of a load: `getpid` is a system call.
package enum ForkMark {
  /// Another number in each process, never 0.
  package static var current: UInt64 {
    guard let page = unsafe page else { return UInt64(getpid()) }  // never unmapped
    let mark = unsafe page.pointee.load(ordering: .relaxed)  // never unmapped
    return mark != 0 ? mark : renew()
  }

  // One word in a page that the kernel zeroes in a forked child; nil where it does not.
  nonisolated(unsafe) private static let page: UnsafeMutablePointer<Atomic<UInt64>>? = {  // atomic, never unmapped
    let size = 4096
    let memory = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)  // new memory
    guard let memory = unsafe memory, unsafe memory != MAP_FAILED else { return nil }  // only compared
    guard unsafe madvise(memory, size, 18) == 0 else {  // MADV_WIPEONFORK, which Glibc's module does not export
      unsafe munmap(memory, size)  // as it was mapped
      return nil
    }
    return unsafe memory.assumingMemoryBound(to: Atomic<UInt64>.self)  // zero is a valid one
  }()

  private static func renew() -> UInt64 {
    guard let page = unsafe page else { return UInt64(getpid()) }  // never unmapped
    let fresh = UInt64.random(in: 1 ... .max)
    // never unmapped
    let (isMine, other) = unsafe page.pointee.compareExchange(expected: 0, desired: fresh, ordering: .relaxed)
    return isMine ? fresh : other
  }
}

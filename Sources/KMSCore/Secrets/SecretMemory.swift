import Glibc
import Synchronization

/// Where secrets live: pages that are locked, not dumped and wiped on fork.
///
/// A page is 4 KiB and an unprivileged process may lock 8 MiB, so small secrets share pages: keys come and
/// go at the rate of the token, without a system call each.
enum SecretMemory {
  /// A key or a PIN; a buffer that a token fills with one; anything larger gets pages of its own.
  static let slotSizes = [64, 256]
  private static let pageSize = 4096
  private static let free = slotSizes.map { FreeList(size: $0) }

  @unsafe  // for one owner, who gives it back once
  struct Slot {
    let address: UnsafeMutableRawPointer
    let size: Int

    func buffer(_ count: Int) -> UnsafeMutableBufferPointer<UInt8> {
      unsafe UnsafeMutableBufferPointer(  // bytes have no other type
        start: address.assumingMemoryBound(to: UInt8.self), count: count)
    }
  }

  private final class FreeList: Sendable {
    let size: Int
    private let addresses = Mutex<[UInt]>([])

    init(size: Int) { self.size = size }

    func take() -> UInt {
      addresses.withLock { addresses in
        if addresses.isEmpty {
          let page = unsafe UInt(bitPattern: map(pageSize))  // a number, to count slots from
          addresses = stride(from: 0, to: pageSize, by: size).map { page + UInt($0) }
        }
        return addresses.removeLast()
      }
    }

    func giveBack(_ address: UInt) { addresses.withLock { $0.append(address) } }
  }

  static func take(_ count: Int) -> Slot {
    guard let list = free.first(where: { count <= $0.size }) else {
      let size = (count + pageSize - 1) / pageSize * pageSize
      return unsafe Slot(address: map(size), size: size)  // mapped for it
    }
    return unsafe Slot(  // from a page that stays mapped
      address: UnsafeMutableRawPointer(bitPattern: list.take())!, size: list.size)
  }

  /// Wipes the whole capacity, not only what was used.
  static func giveBack(_ slot: Slot) {
    unsafe explicit_bzero(slot.address, slot.size)  // within the slot
    // Kept as a number until it is taken again.
    let (address, size) = unsafe (UInt(bitPattern: slot.address), slot.size)  // only compared
    guard let list = free.first(where: { $0.size == size }) else {
      unsafe munmap(slot.address, size)  // as it was mapped
      return
    }
    list.giveBack(address)
  }

  private static func map(_ size: Int) -> UnsafeMutableRawPointer {
    let memory = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)  // new memory
    guard let memory = unsafe memory, unsafe memory != MAP_FAILED else {  // only compared
      fatalError("out of memory for a secret")
    }
    // Each of the three may be refused (limits, old kernels); the secret is then as safe as the rest of memory.
    unsafe _ = mlock(memory, size)  // of the mapping
    unsafe _ = madvise(memory, size, MADV_DONTDUMP)  // of the mapping
    unsafe _ = madvise(memory, size, 18)  // MADV_WIPEONFORK, which Glibc's module does not export
    return unsafe memory  // just mapped
  }
}

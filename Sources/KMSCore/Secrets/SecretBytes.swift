import Glibc

/// Bytes that must not be seen: a key, a PIN, a passphrase.
///
/// They live in memory of their own: locked (not swapped) where the system allows it, left out of core
/// dumps, zeroed in a forked child, and wiped when the value goes. It cannot be copied by accident, has no
/// description, and compares in constant time.
@safe
public struct SecretBytes: ~Copyable, @unchecked Sendable {  // nothing can write it once it is made
  private let slot: SecretMemory.Slot
  private let process = ForkMark.current

  /// Number of bytes.
  public let count: Int

  /// Makes `count` bytes at most: `fill` writes them in place and may write fewer.
  public init<E: Error>(capacity: Int, fill: (inout OutputSpan<UInt8>) throws(E) -> Void) throws(E) {
    let slot = unsafe SecretMemory.take(capacity)  // given back in deinit
    var span = unsafe OutputSpan<UInt8>(buffer: slot.buffer(capacity), initializedCount: 0)  // slot is ours alone
    do { try fill(&span) } catch {
      span.removeAll()
      unsafe SecretMemory.giveBack(slot)  // taken in init, once
      throw error
    }
    unsafe self.slot = slot  // owned from here on
    count = unsafe span.finalize(for: slot.buffer(capacity))  // the buffer that the span was made on
  }

  /// Copies. The caller wipes the source.
  public init(copying bytes: Span<UInt8>) {
    self.init(capacity: bytes.count) { $0.append(copying: bytes) }
  }

  /// Fresh random bytes from the kernel (getentropy).
  public static func random(count: Int) -> SecretBytes {
    SecretBytes(capacity: count) { output in
      unsafe output.withUnsafeMutableBufferPointer { buffer, written in  // `count` bytes, for the call
        while written < count {
          let next = min(256, count - written)  // more is refused
          // Within the buffer.
          guard unsafe getentropy(buffer.baseAddress! + written, next) == 0 else {
            fatalError("the kernel gives no randomness")
          }
          written += next
        }
      }
    }
  }

  /// Reads the bytes for the length of the call. The span must not leave it.
  ///
  /// In a forked child they are zeros, by which nothing must be encrypted: there it stops the process.
  public borrowing func withBytes<Result: ~Copyable, E: Error>(
    _ body: (Span<UInt8>) throws(E) -> Result
  ) throws(E) -> Result {
    precondition(
      process == ForkMark.current, "a secret of the process that this one was forked from: make what holds it anew here"
    )
    // The slot lives as long as self.
    return try body(unsafe Span(_unsafeElements: UnsafeBufferPointer(slot.buffer(count))))
  }

  /// The bytes in an ordinary array: not locked, and not wiped. For a caller who asked for the plaintext.
  public borrowing func unprotectedCopy() -> [UInt8] {
    withBytes { bytes in [UInt8](capacity: bytes.count) { $0.append(copying: bytes) } }
  }

  /// A second owner of the same bytes.
  public borrowing func copy() -> SecretBytes { withBytes { SecretBytes(copying: $0) } }

  /// Whether both hold the same bytes; takes the same time wherever they differ. Lengths are not secret.
  public borrowing func equals(_ other: borrowing SecretBytes) -> Bool {
    withBytes { mine in other.withBytes { constantTimeEqual(mine, $0) } }
  }

  deinit { unsafe SecretMemory.giveBack(slot) }  // taken in init, once
}

/// Whether two runs of bytes are equal, in time that depends on their length only.
public func constantTimeEqual(_ a: Span<UInt8>, _ b: Span<UInt8>) -> Bool {
  guard a.count == b.count else { return false }
  return difference(a, b) == 0
}

// Not inlined, so that nothing here knows that only zero or not counts, and an early exit could be put in.
@inline(never)
private func difference(_ a: Span<UInt8>, _ b: Span<UInt8>) -> UInt8 {
  var bits: UInt8 = 0
  for i in a.indices { bits |= a[i] ^ b[i] }
  return bits
}

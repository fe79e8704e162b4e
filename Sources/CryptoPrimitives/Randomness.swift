internal import COpenSSL
internal import Glibc
internal import Synchronization

/// Random bytes for IVs and salts from libcrypto's generator, drawn in blocks: a call for 12 bytes costs more
/// than the GCM that they are for. Each byte is given out once, and never in two processes.
package enum Randomness {
  private struct Block {
    var bytes: [UInt8] = []
    var process: pid_t = 0
  }

  private static let blockSize = 4096
  private static let block = Mutex(Block())

  package static func bytes(_ count: Int) -> [UInt8] {
    guard count <= 256 else { return draw(count) }
    let process = getpid()
    return block.withLock { block in
      if block.bytes.count < count || block.process != process {
        block.bytes = draw(blockSize)
        block.process = process
      }
      defer { block.bytes.removeLast(count) }
      return Array(block.bytes.suffix(count))
    }
  }

  private static func draw(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    // Without randomness nothing may go on. The buffer outlives the call.
    precondition(
      unsafe RAND_bytes(  // `bytes` has that count
        &bytes, CInt(count)) == 1, "libcrypto gives no randomness")
    return bytes
  }
}

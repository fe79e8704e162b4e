internal import COpenSSL
internal import KMSCore

/// Random bytes for IVs and salts from libcrypto's generator, drawn in blocks: a call for 12 bytes costs more
/// than the GCM that they are for. Each byte is given out once, and never in two processes.
package enum Randomness {
  private struct Block {
    var bytes: [UInt8] = []
    var left = 0
    var process: UInt64 = 0

    mutating func take(_ count: Int) -> Int {
      if left < count || process != ForkMark.current {
        bytes = draw(blockSize)
        (left, process) = (blockSize, ForkMark.current)
      }
      left -= count
      return left
    }
  }

  private static let blockSize = 4096
  private static let blocks = Striped { Block() }

  /// An IV for AES-GCM.
  package static func iv() -> InlineArray<12, UInt8> {
    blocks.withLock { block in
      let start = block.take(AESGCM.ivSize)
      return InlineArray { block.bytes[start + $0] }
    }
  }

  package static func bytes(_ count: Int) -> [UInt8] {
    guard count <= 256 else { return draw(count) }
    return blocks.withLock { block in
      let start = block.take(count)
      return Array(block.bytes[start..<start + count])
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

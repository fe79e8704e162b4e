internal import Glibc

/// IVs of 12 bytes for AES-GCM, some of them drawn in advance, for one caller. None is given out twice, nor in two
/// processes.
package struct IVs: ~Copyable {
  private static let size = 12
  private static let count = 20

  private let draw: @Sendable (Int) -> [UInt8]
  private var bytes: [UInt8] = []
  private var left = 0
  private var process: UInt64 = 0

  /// - Parameter draw: gives so many random bytes; the kernel does when nothing is given.
  package init(_ draw: @escaping @Sendable (Int) -> [UInt8] = IVs.fromKernel) { self.draw = draw }

  package static func fromKernel(_ count: Int) -> [UInt8] {
    [UInt8](capacity: count) { output in
      unsafe output.withUnsafeMutableBufferPointer { buffer, written in  // `count` bytes, for the call
        guard unsafe getentropy(buffer.baseAddress!, count) == 0 else {  // it has them, and 256 are allowed
          fatalError("the kernel gives no randomness")
        }
        written = count
      }
    }
  }

  /// Runs `body` with the next one.
  package mutating func withNext<Result>(_ body: (Span<UInt8>) throws -> Result) rethrows -> Result {
    let process = ForkMark.current
    if left == 0 || self.process != process {
      bytes = draw(Self.count * Self.size)
      (left, self.process) = (Self.count, process)
    }
    left -= 1
    let start = left * Self.size
    return try body(bytes.span.extracting(start..<start + Self.size))
  }
}

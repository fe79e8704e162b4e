import Foundation
import Glibc
import KMSCore
import Testing

/// A signal that gets through ends the test's process.
struct SIGPIPETests {
  @Test func aReaderThatIsGoneIsAnError() throws {
    let pipe = Pipe()
    try pipe.fileHandleForReading.close()
    let failure = withoutSIGPIPE {
      unsafe write(pipe.fileHandleForWriting.fileDescriptor, "x", 1) < 0 ? errno : 0  // for the call
    }
    #expect(failure == EPIPE)
    #expect(!isPending)
  }

  /// The write has then done some of it, and the signal comes all the same.
  @Test func soIsOneThatGoesInTheMidstOfAWrite() throws {
    let pipe = Pipe()
    let (reading, writing) = (pipe.fileHandleForReading, pipe.fileHandleForWriting.fileDescriptor)
    Thread.detachNewThread {
      usleep(100_000)
      try? reading.close()
    }
    let bytes = [UInt8](repeating: 0, count: 1 << 20)  // more than a pipe holds
    let written = withoutSIGPIPE { unsafe write(writing, bytes, bytes.count) }  // for the call
    #expect(0 < written && written < bytes.count)
    #expect(!isPending)
  }

  private var isPending: Bool {
    var pending = sigset_t()
    unsafe sigpending(&pending)  // a local value, for the call
    return unsafe sigismember(&pending, SIGPIPE) == 1  // as above
  }
}

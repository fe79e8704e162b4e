import Glibc
import KMSCore
import Testing

@Suite struct SecretBytesTests {
  @Test func comparesByContent() {
    let a = SecretBytes(copying: [1, 2, 3].span)
    let b = SecretBytes(copying: [1, 2, 3].span)
    let c = SecretBytes(copying: [1, 2, 4].span)
    let short = SecretBytes(copying: [1, 2].span)
    let (same, other, shorter) = (a.equals(b), a.equals(c), a.equals(short))
    #expect(same)
    #expect(!other)
    #expect(!shorter)
  }

  @Test(arguments: [0, 1, 32, 64, 65, 5000])
  func holdsAnySize(count: Int) {
    let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
    let secret = SecretBytes(copying: bytes.span)
    let (length, same) = (secret.count, secret.withBytes { constantTimeEqual($0, bytes.span) })
    #expect(length == count)
    #expect(same)
  }

  /// There the bytes are zeros: by them nothing must be encrypted.
  @Test func aForkedChildThatUsesOneEnds() async throws {
    let secret = SecretBytes.random(count: 32)
    // Swift hides fork(); the child only looks, and is gone.
    typealias Fork = @convention(c) () -> pid_t
    let fork = unsafe unsafeBitCast(dlsym(nil, "fork"), to: Fork.self)
    let child = fork()
    if child == 0 {
      for number in [SIGILL, SIGTRAP] { signal(number) { _ in _exit(17) } }
      let first = secret.withBytes { $0[0] }
      _exit(first == 0 ? 1 : 2)
    }
    var status: CInt = 0
    for _ in 0..<1000 {
      if unsafe waitpid(child, &status, WNOHANG) != 0 { break }  // `status` outlives the call
      usleep(10_000)
    }
    #expect(status == 17 << 8)
    let own = secret.withBytes { $0.count }
    #expect(own == 32)
  }

  @Test func randomBytesDiffer() {
    let first = SecretBytes.random(count: 32)
    let same = first.equals(SecretBytes.random(count: 32))
    #expect(!same)
  }

  /// Around the sizes that memory comes in.
  @Test func noTwoShareAByteAndWhatIsTakenAgainWasWiped() {
    for count in [1, 64, 65, 112, 256, 257, 4096, 4097] {
      for round in 0..<3 {
        let a = SecretBytes(capacity: count) { fill(&$0, with: 0xA5) }
        let b = SecretBytes.random(count: count)
        let c = SecretBytes(capacity: count) { fill(&$0, with: 0x5A) }
        let (first, last) = (a.unprotectedCopy(), c.unprotectedCopy())
        #expect(first == [UInt8](repeating: 0xA5, count: count) && last == [UInt8](repeating: 0x5A, count: count))
        #expect(b.unprotectedCopy().count == count)
        // What is not written over is what the memory held.
        let next = SecretBytes(capacity: count) { output in
          unsafe output.withUnsafeMutableBufferPointer { _, written in written = count }  // mapped as a whole
        }
        let held = next.unprotectedCopy()
        #expect(held.allSatisfy { $0 == 0 }, "\(count) bytes, round \(round)")
      }
    }
  }

  private func fill(_ output: inout OutputSpan<UInt8>, with byte: UInt8) {
    while !output.isFull { output.append(byte) }
  }
}

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

  @Test func randomBytesDiffer() {
    let first = SecretBytes.random(count: 32)
    let same = first.equals(SecretBytes.random(count: 32))
    #expect(!same)
  }
}

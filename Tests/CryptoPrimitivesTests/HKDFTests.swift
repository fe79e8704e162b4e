import CryptoPrimitives
import KMSCore
import Testing

struct HKDFTests {
  /// RFC 5869, A.1.
  @Test func firstCaseOfTheRFC() throws {
    let key = SecretBytes(copying: [UInt8](repeating: 0x0B, count: 22).span)
    let derived = try HKDF.sha256(
      key, salt: (0...12).map { UInt8($0) }, info: (0xF0...0xF9).map { UInt8($0) }, count: 42)
    #expect(
      derived.unprotectedCopy()
        == bytes("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"))
  }

  /// FIPS 180-4's "abc".
  @Test func digest() {
    let expected = bytes("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(SHA256.digest(Array("abc".utf8).span) == expected)
    #expect(SHA256.digest(prefix: Array("ab".utf8), Array("c".utf8).span) == expected)
  }

  @Test func randomBytesAreGivenOutOnce() {
    var seen: Set<[UInt8]> = []
    for _ in 0..<10_000 { #expect(seen.insert(Randomness.bytes(12)).inserted) }
    #expect(Randomness.bytes(5000).count == 5000)
  }

  /// An IV that comes twice under one key gives both plaintexts away.
  @Test func noIVComesTwice() {
    var one = IVs(Randomness.bytes)
    var other = IVs(Randomness.bytes)
    var kernels = IVs()
    var seen: Set<[UInt8]> = []
    for _ in 0..<5_000 {
      let mine = one.withNext { iv in iv.indices.map { iv[$0] } }
      let yours = other.withNext { iv in iv.indices.map { iv[$0] } }
      let third = kernels.withNext { iv in iv.indices.map { iv[$0] } }
      #expect(mine.count == AESGCM.ivSize && seen.insert(mine).inserted && seen.insert(yours).inserted)
      #expect(third.count == AESGCM.ivSize && seen.insert(third).inserted)
    }
  }
}

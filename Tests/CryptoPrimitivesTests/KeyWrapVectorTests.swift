import CryptoPrimitives
import KMSCore
import PKCS11Provider
import TestSupport
import Testing

private let fetched = Comment("Scripts/fetch-vectors.sh has not brought the vectors")

@Suite(.enabled(if: PublishedVectors.areThere, fetched))
struct KeyWrapVectorTests {
  private func unwrapped(_ wrapped: [UInt8], _ kek: [UInt8]) -> [UInt8]? {
    let kek = SecretBytes(copying: kek.span)
    guard let key = try? AESKeyWrap.unwrap(wrapped.span, kek: kek) else { return nil }
    return key.unprotectedCopy()
  }

  @Test(arguments: [128, 192, 256])
  func nistUnwrapping(size: Int) throws {
    let records = try PublishedVectors.nist("keywrap/kwtestvectors/KW_AD_\(size).txt")
    try #require(records.count >= 500)
    for record in records {
      let expected = record["FAIL"] == nil ? bytes(record["P"]) : nil
      #expect(unwrapped(bytes(record["C"]), bytes(record["K"])) == expected)
    }
    #expect(records.contains { $0["FAIL"] != nil })
  }

  @Test(arguments: [128, 192, 256])
  func nistWrapping(size: Int) throws {
    let records = try PublishedVectors.nist("keywrap/kwtestvectors/KW_AE_\(size).txt")
    try #require(records.count >= 500)
    for record in records {
      let kek = SecretBytes(copying: bytes(record["K"]).span)
      #expect(try AESKeyWrap.wrap(bytes(record["P"]).span, kek: kek) == bytes(record["C"]))
    }
  }

  @Test func wycheproof() throws {
    var count = 0
    for group in try PublishedVectors.wycheproof("aes_wrap_test.json") {
      for test in group.tests {
        let opened = unwrapped(bytes(test.ct), bytes(test.key))
        switch test.result {
        case "valid": #expect(opened == bytes(test.msg), "test \(test.tcId)")
        case "invalid": #expect(opened == nil, "test \(test.tcId)")
        default: #expect(opened == nil || opened == bytes(test.msg), "test \(test.tcId)")
        }
        count += 1
      }
    }
    #expect(count > 100)
  }

  @Test(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
  func nistOnSoftHSM() async throws {
    let provider = try SoftHSM.makeToken().provider()
    let files = ["KW_AD_256", "KW_AE_256"]
    let records = try files.flatMap { try PublishedVectors.nist("keywrap/kwtestvectors/\($0).txt") }
      .filter { bytes($0["C"]).count == 40 }
    try #require(records.count >= 150)
    for record in records.prefix(160) {
      let kek = SecretBytes(copying: bytes(record["K"]).span)
      let version = try await provider.importKeyVersion(NewKeyVersion(key: KeyName("vector")), material: kek)
      let wrapped = WrappedKey(algorithm: .a256KW, bytes: bytes(record["C"]))
      if record["FAIL"] == nil {
        let key = try await provider.unwrap(wrapped, under: version.id, aad: [0])
        #expect(key.unprotectedCopy() == bytes(record["P"]))
        #expect(try await provider.wrap(key, under: version.id, aad: [0]) == wrapped)
      } else {
        await #expect(throws: KMSError(.doesNotOpen, "")) {
          _ = try await provider.unwrap(wrapped, under: version.id, aad: [0])
        }
      }
    }
    await provider.close()
  }
}

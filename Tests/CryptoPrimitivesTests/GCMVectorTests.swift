import CryptoPrimitives
import KMSCore
import PKCS11Provider
import TestSupport
import Testing

private let fetched = Comment("Scripts/fetch-vectors.sh has not brought the vectors")

@Suite(.enabled(if: PublishedVectors.areThere, fetched))
struct GCMVectorTests {
  private func opened(_ sealed: [UInt8], key: [UInt8], iv: [UInt8], aad: [UInt8]) -> [UInt8]? {
    let key = SecretBytes(copying: key.span)
    guard let plaintext = try? AESGCM(key: key).open(sealed.span, iv: iv.span, aad: aad.span) else { return nil }
    return plaintext.unprotectedCopy()
  }

  @Test func nistDecryption() throws {
    let records = try PublishedVectors.nist("ciphers/AES/GCM/gcmDecrypt256.rsp")
      .filter { $0["IVLEN"] == "96" && $0["TAGLEN"] == "128" }
    try #require(records.count > 300)
    for record in records {
      let plaintext = opened(
        bytes(record["CT"]) + bytes(record["TAG"]), key: bytes(record["KEY"]), iv: bytes(record["IV"]),
        aad: bytes(record["AAD"]))
      #expect(plaintext == (record["FAIL"] == nil ? bytes(record["PT"]) : nil))
    }
    #expect(records.contains { $0["FAIL"] != nil })
  }

  @Test func nistEncryption() throws {
    let records = try PublishedVectors.nist("ciphers/AES/GCM/gcmEncryptExtIV256.rsp")
      .filter { $0["IVLEN"] == "96" && $0["TAGLEN"] == "128" }
    try #require(records.count > 300)
    for record in records {
      let key = SecretBytes(copying: bytes(record["KEY"]).span)
      let sealed = try AESGCM(key: key).seal(
        bytes(record["PT"]).span, iv: bytes(record["IV"]).span, aad: bytes(record["AAD"]).span)
      #expect(sealed == bytes(record["CT"]) + bytes(record["TAG"]))
    }
  }

  @Test func wycheproof() throws {
    let tests = try PublishedVectors.wycheproof("aes_gcm_test.json")
      .filter { $0.keySize == 256 && $0.ivSize == 96 && $0.tagSize == 128 }.flatMap(\.tests)
    try #require(tests.count > 50)
    for test in tests {
      let sealed = bytes(test.ct) + bytes(test.tag)
      let plaintext = opened(sealed, key: bytes(test.key), iv: bytes(test.iv), aad: bytes(test.aad))
      #expect(plaintext == (test.result == "valid" ? bytes(test.msg) : nil), "test \(test.tcId)")
    }
  }

  @Test(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
  func wycheproofOnSoftHSM() async throws {
    let provider = try SoftHSM.makeToken().provider()
    // SoftHSM crashes on GCM without AAD, so the provider never asks for that.
    let tests = try PublishedVectors.wycheproof("aes_gcm_test.json")
      .filter { $0.keySize == 256 && $0.ivSize == 96 && $0.tagSize == 128 }.flatMap(\.tests)
      .filter { !bytes($0.aad).isEmpty }
    try #require(tests.count > 15)
    for test in tests {
      let kek = SecretBytes(copying: bytes(test.key).span)
      let version = try await provider.importKeyVersion(
        NewKeyVersion(key: KeyName("vector"), purpose: .encrypt), material: kek)
      let ciphertext = DirectCiphertext(iv: bytes(test.iv), bytes: bytes(test.ct) + bytes(test.tag))
      if test.result == "valid" {
        let plaintext = try await provider.decrypt(ciphertext, under: version.id, aad: bytes(test.aad))
        #expect(plaintext.unprotectedCopy() == bytes(test.msg), "test \(test.tcId)")
      } else {
        await #expect(throws: KMSError(.doesNotOpen, ""), "test \(test.tcId)") {
          _ = try await provider.decrypt(ciphertext, under: version.id, aad: bytes(test.aad))
        }
      }
    }
    await provider.close()
  }
}

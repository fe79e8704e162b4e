import Foundation
import InMemoryProvider
import PublicKeyProvider
import Strongroom
import SystemPackage
import TestSupport
import Testing

private let aad: [UInt8] = [1]

/// A public RSA key as a recovery recipient, made and opened by OpenSSL's own program.
struct PublicKeyTests {
  private let folder = TemporaryFolder()

  private func provider(_ pem: String) throws -> PublicKeyProvider {
    PublicKeyProvider(name: "board", key: try KeyName("board-rsa"), pem: folder.path + "/" + pem)
  }

  private func makeKey(_ bits: Int = 2048) async throws {
    try await folder.run(
      "openssl genrsa -out private.pem \(bits) 2>&1; openssl pkey -in private.pem -pubout -out public.pem")
  }

  @Test("what it wraps, openssl opens; its id is the SHA-256 of the key", arguments: [2048, 3072, 4096])
  func wraps(bits: Int) async throws {
    try await makeKey(bits)
    let provider = try provider("public.pem")
    let version = try #require(try await provider.keyVersions(of: nil).first)
    let digest = try await folder.run(
      "openssl pkey -pubin -in public.pem -outform DER | sha256sum | cut -d' ' -f1 | tr -d '\\n'")
    #expect(version.id.description == digest.output)
    #expect(version.purpose == .recovery && version.state == .active && version.key.description == "board-rsa")
    #expect(try await provider.keyVersions(of: KeyName("other")).isEmpty)
    let cek = SecretBytes.random(count: 32)
    let wrapped = try await provider.wrap(cek, under: version.id, aad: aad)
    #expect(wrapped.algorithm == .rsaOAEP256 && wrapped.bytes.count == bits / 8 && wrapped.iv.isEmpty)
    try folder.write(wrapped.bytes, to: "wrapped")
    let opened = try await folder.run(
      """
      openssl pkeyutl -decrypt -inkey private.pem -in wrapped -out cek -pkeyopt rsa_padding_mode:oaep \
        -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256
      """)
    #expect(opened.status == 0, "\(opened.error)")
    let cekBytes = cek.unprotectedCopy()
    #expect(try folder.bytes("cek") == cekBytes)
    let health = await provider.health()
    #expect(health.isServing && health.detail.contains("\(bits) bits"))
    await provider.close()
  }

  @Test("everything but wrapping is refused, with what to do")
  func refuses() async throws {
    try await makeKey()
    let provider = try provider("public.pem")
    let id = try #require(try await provider.keyVersions(of: nil).first).id
    let cek = SecretBytes.random(count: 32)
    let wrapped = try await provider.wrap(cek, under: id, aad: aad)
    let operations: [(KMSError.Code, () async throws -> Void)] = [
      (.keyPurposeForbids, { _ = try await provider.unwrap(wrapped, under: id, aad: aad) }),
      (.notSupported, { _ = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("a"))) }),
      (.notSupported, { _ = try await provider.setState(.deactivated, of: id) }),
      (.keyNotFound, { _ = try await provider.wrap(.random(count: 32), under: .make(), aad: aad) }),
      (.invalidInput, { _ = try await provider.wrap(.random(count: 31), under: id, aad: aad) }),
    ]
    for (code, operation) in operations {
      let error = try await failure(operation)
      #expect(error.code == code && !error.advice.isEmpty, "\(error)")
    }
    #expect(try await provider.setState(.active, of: id).id == id)
    await provider.close()
    #expect(try await failure { _ = try await provider.wrap(.random(count: 32), under: id, aad: aad) }.code == .closed)
    let health = await provider.health()
    #expect(!health.isServing)
  }

  @Test(
    "what is no good public key is refused, and says why",
    arguments: [
      ("openssl genrsa -out k.pem 2048", "private key, which does not belong"),
      ("openssl genrsa -aes256 -passout pass:1234 -out k.pem 2048", "private key, which does not belong"),
      ("openssl ecparam -genkey -name prime256v1 | openssl ec -pubout -out k.pem", "no RSA key"),
      ("openssl genrsa 1024 | openssl pkey -pubout -out k.pem", "1024 bits"),
      ("echo hello >k.pem", "no public key in PEM"), (": >k.pem", "no public key in PEM"), ("true", "is not there"),
      ("openssl genrsa 2048 | openssl pkey -pubout -out k.pem; chmod 666 k.pem", "others may change"),
    ])
  func notAKey(_ making: String, _ problem: String) async throws {
    try await folder.run("umask 022; (\(making)) 2>&1")
    let provider = try provider("k.pem")
    let error = try await failure { _ = try await provider.keyVersions(of: nil) }
    #expect("\(error)".contains(problem), "\(error)")
    #expect(!error.advice.isEmpty && error.provider == "board")
    let health = await provider.health()
    #expect(!health.isServing && health.detail.contains(problem))
  }

  @Test(
    "a key that somebody else may replace is refused",
    arguments: [
      ("chmod 777 .", "another file in the place", "chmod 1777 ."),
      ("chmod 770 .", "another file in the place", "chmod 750 ."),
      ("chown 12345 public.pem", "belongs to another account", "chown 0 public.pem"),
    ])
  func exposed(_ change: String, _ problem: String, _ remedy: String) async throws {
    if change.hasPrefix("chown"), !isRoot { try Test.cancel("only root may give files away") }
    try await makeKey()
    try await folder.run(change)
    let provider = try provider("public.pem")
    let error = try await failure { _ = try await provider.keyVersions(of: nil) }
    #expect(error.code == .keyStoreExposed && "\(error)".contains(problem) && !error.advice.isEmpty, "\(error)")
    try await folder.run(remedy)
    #expect(try await provider.keyVersions(of: nil).count == 1)
  }

  @Test("another key in the file is another version, at once")
  func replaced() async throws {
    try await makeKey()
    let provider = try provider("public.pem")
    let first = try #require(try await provider.keyVersions(of: nil).first).id
    try await folder.run("openssl genrsa 3072 2>/dev/null | openssl pkey -pubout -out new.pem; mv new.pem public.pem")
    let error = try await failure { _ = try await provider.wrap(.random(count: 32), under: first, aad: aad) }
    #expect(error.code == .keyNotFound)
    let second = try #require(try await provider.keyVersions(of: nil).first).id
    #expect(second != first)
  }

  @Test("configured beside another provider, its recipient is in fields and files; 8192 bits fit, too")
  func configured() async throws {
    try await makeKey(4096)
    try await folder.run("cp \(fixtures)/rsa-8192.pem .")  // a clone may be another account's
    try folder.write(
      Array(
        """
        provider: keys
        providers:
          keys: { type: memory }
          board-rsa: { type: public-key, pem: public.pem }
          large: { type: public-key, pem: rsa-8192.pem, key: vault-rsa }
        data-at-rest: { recovery-recipients: [board-rsa, vault-rsa] }
        """.utf8), to: "strongroom.yaml")
    let loaded = try SuiteConfiguration.load(file: FilePath(folder.path + "/strongroom.yaml"), environment: [:])
    let manager = try DataAtRestManager.open(loaded)
    let current = try await manager.createKey(KeyName("default"))
    let versions = try await manager.keyVersions()
    #expect(Set(versions.map(\.provider)) == ["keys", "board-rsa", "large"])
    let field = try EncryptMessage(parsing: try await manager.encrypt("value"), as: .field)
    #expect(field.recipients.map(\.wrapped.algorithm) == [.a256KW, .rsaOAEP256, .rsaOAEP256])
    #expect(field.recipients.map(\.wrapped.bytes.count) == [40, 512, 1024])
    #expect(field.recipients[0].kid == current.id)
    #expect(try await manager.decryptString(field.encoded()) == "value")

    try folder.write(Array("content".utf8), to: "plain")
    let (plain, sealed) = (folder.path + "/plain", folder.path + "/sealed")
    try await manager.encryptFile(from: .path(FilePath(plain)), to: .path(FilePath(sealed)))
    let header = try FileHeader(startOf: folder.bytes("sealed"))
    #expect(header.size == 2048 && header.keyBlob.recipients.count == 3)
    try await manager.decryptFile(from: .path(FilePath(sealed)), to: .path(FilePath(folder.path + "/opened")))
    #expect(try folder.bytes("opened") == Array("content".utf8))
    await manager.close()
  }

  @Test("a file that was made before: a rewrap has no room for a long recipient and says so, a new header has")
  func longRecipientLater() async throws {
    let memory = InMemoryProvider(name: "keys")
    try await folder.run("cp \(fixtures)/rsa-8192.pem .")
    let large = PublicKeyProvider(name: "large", key: try KeyName("large"), pem: folder.path + "/rsa-8192.pem")
    let manager = try DataAtRestManager(
      providers: [memory, large], configuration: DataAtRestConfig(), reporter: Recorder())
    try await manager.createKey(KeyName("default"))
    try folder.write([UInt8](repeating: 7, count: 100_000), to: "plain")
    let (plain, sealed) = (FilePath(folder.path + "/plain"), FilePath(folder.path + "/sealed"))
    try await manager.encryptFile(from: .path(plain), to: .path(sealed))
    let before = try folder.bytes("sealed")
    try await manager.updateConfiguration(DataAtRestConfig(recoveryRecipients: ["large"]))
    let error = try await failure { _ = try await manager.rewrapFile(sealed) }
    #expect(error.code == .limitExceeded && !error.advice.isEmpty)
    #expect(try folder.bytes("sealed") == before)
    try await manager.reencryptFile(sealed)
    let header = try FileHeader(startOf: folder.bytes("sealed"))
    #expect(header.size == 2048 && header.keyBlob.recipients.map(\.wrapped.algorithm) == [.a256KW, .rsaOAEP256])
    try await manager.decryptFile(from: .path(sealed), to: .path(FilePath(folder.path + "/opened")))
    #expect(try await folder.run("cmp plain opened").status == 0)
    await manager.close()
  }
}

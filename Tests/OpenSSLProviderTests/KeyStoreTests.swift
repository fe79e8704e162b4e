import Foundation
import KMSCore
import OpenSSLProvider
import Synchronization
import TestSupport
import Testing

private let aad: [UInt8] = [1]

struct KeyStoreTests {
  let folder = TemporaryFolder()
  var path: String { folder.path + "/keys.p12" }

  private func provider(passphrase: String = "a long passphrase") -> OpenSSLProvider {
    OpenSSLProvider(OpenSSLConfiguration(name: "local", keystore: path, passphrase: secret(passphrase)))
  }

  private func openssl(_ arguments: [String]) async throws -> ProcessResult {
    try await runProcess("/usr/bin/openssl", arguments, environment: ["PASS": "a long passphrase"])
  }

  @Test func openSSLItselfReadsTheStore() async throws {
    let provider = provider()
    let version = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("customer-pii")))
    await provider.close()
    let info = try await openssl(["pkcs12", "-info", "-noout", "-in", path, "-passin", "env:PASS"])
    #expect(info.status == 0, "\(info.error)")
    #expect(info.error.contains("MAC: sha256, Iteration 600000"), "\(info.error)")
    #expect(info.error.contains("PBES2, PBKDF2, AES-256-CBC, Iteration 600000, PRF hmacWithSHA256"), "\(info.error)")
    let whole = try await openssl(["pkcs12", "-info", "-in", path, "-passin", "env:PASS", "-passout", "env:PASS"])
    #expect(whole.status == 0)
    #expect((whole.output + whole.error).contains("friendlyName: customer-pii"))
    #expect((whole.output + whole.error).contains("Secret bag"))
    let id = version.id.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true) }
    #expect((whole.output + whole.error).contains("localKeyID: " + id.joined(separator: " ")))
    let wrong = try await runProcess(
      "/usr/bin/openssl", ["pkcs12", "-info", "-noout", "-in", path, "-passin", "env:PASS"],
      environment: ["PASS": "another"])
    #expect(wrong.status != 0)
  }

  @Test func theFileIsTheOwnersAlone() async throws {
    let provider = provider()
    let version = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("k")))
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    #expect(mode == 0o600)
    try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path)
    let again = self.provider()
    do {
      _ = try await again.keyVersions(of: nil)
      Issue.record("an exposed store was read")
    } catch let error as KMSError {
      #expect(error.code == .keyStoreExposed)
      #expect("\(error)".contains("chmod 600"))
    }
    try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
    #expect(try await again.keyVersions(of: nil).map(\.id) == [version.id])
  }

  @Test func aWrongPassphraseIsTold() async throws {
    _ = try await provider().createKeyVersion(NewKeyVersion(key: KeyName("k")))
    let before = try Data(contentsOf: URL(fileURLWithPath: path))
    let other = provider(passphrase: "mistaken words")
    await #expect(throws: KMSError(.accessDenied, "")) { _ = try await other.keyVersions(of: nil) }
    await #expect(throws: KMSError(.accessDenied, "")) {
      _ = try await other.createKeyVersion(NewKeyVersion(key: KeyName("k")))
    }
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
  }

  /// What a person types, or a file says by now, may be another: the store stays under what opened it.
  @Test func aStoreStaysUnderThePassphraseThatOpenedIt() async throws {
    _ = try await provider().createKeyVersion(NewKeyVersion(key: KeyName("k")))
    let answers = Mutex(["a long passphrase", "a long passphrsae", "something else"])
    let source = SecretSource(description: "prompt:", asksAPerson: true) {
      SecretBytes(copying: Array(answers.withLock { $0.removeFirst() }.utf8).span)
    }
    let typed = OpenSSLProvider(OpenSSLConfiguration(name: "local", keystore: path, passphrase: source))
    let version = try await typed.createKeyVersion(NewKeyVersion(key: KeyName("k")))
    _ = try await typed.setState(.deactivated, of: version.id)
    #expect(answers.withLock { $0.count } == 2, "asked once")
    #expect(try await provider().keyVersions(of: nil).count == 2)
  }

  @Test func aNewStoresPassphraseIsAskedForTwice() async throws {
    for (second, isMade) in [("one, mistyped", false), ("one", true)] {
      let answers = Mutex(["one", second])
      let source = SecretSource(description: "prompt:", asksAPerson: true) {
        SecretBytes(copying: Array(answers.withLock { $0.removeFirst() }.utf8).span)
      }
      let typed = OpenSSLProvider(OpenSSLConfiguration(name: "local", keystore: path, passphrase: source))
      if isMade {
        _ = try await typed.createKeyVersion(NewKeyVersion(key: KeyName("k")))
      } else {
        await #expect(throws: KMSError(.secretUnavailable, "")) {
          _ = try await typed.createKeyVersion(NewKeyVersion(key: KeyName("k")))
        }
      }
      #expect(FileManager.default.fileExists(atPath: path) == isMade)
    }
  }

  @Test func aDamagedStoreIsRefusedAndKept() async throws {
    _ = try await provider().createKeyVersion(NewKeyVersion(key: KeyName("k")))
    let url = URL(fileURLWithPath: path)
    let good = try Data(contentsOf: url)
    var flipped = good
    flipped[good.count / 2] ^= 1
    for bad in [Data(), Data("text".utf8), good.dropLast(1), good + [0], flipped] {
      try bad.write(to: url)
      try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
      for write in [false, true] {
        do {
          let provider = provider()
          if write {
            _ = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("k")))
          } else {
            _ = try await provider.keyVersions(of: nil)
          }
          Issue.record("a damaged store of \(bad.count) bytes was taken")
        } catch let error as KMSError {
          #expect(error.code == .keyStoreDamaged || error.code == .accessDenied, "\(error)")
        }
      }
      #expect(try Data(contentsOf: url) == bad)
    }
  }

  @Test func aStoreWithFewIterationsIsRefused() async throws {
    // OpenSSL's own default is 2,048.
    let made = try await openssl([
      "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", folder.path + "/k.pem", "-out",
      folder.path + "/c.pem",
    ])
    try #require(made.status == 0)
    let weak: [(options: [String], told: String)] = [
      ([], "2048 iterations"), (["-nomac"], "no MAC"),
      (["-macalg", "sha1", "-iter", "600000"], "no MAC by HMAC-SHA-256"),
      (["-iter", "600000", "-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES"], "not encrypted by PBES2"),
      (["-iter", "600000", "-certpbe", "aes-128-cbc", "-keypbe", "aes-128-cbc"], "not encrypted by PBES2"),
    ]
    for (options, told) in weak {
      let packed = try await openssl(
        [
          "pkcs12", "-export", "-inkey", folder.path + "/k.pem", "-in", folder.path + "/c.pem", "-out", path,
          "-passout", "env:PASS",
        ] + options)
      try #require(packed.status == 0, "\(packed.error)")
      try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
      do {
        _ = try await provider().keyVersions(of: nil)
        Issue.record("a weak store was taken: \(options)")
      } catch let error as KMSError {
        #expect(error.code == .keyStoreDamaged, "\(options): \(error)")
        #expect("\(error)".contains(told), "\(options): \(error)")
      }
    }
  }

  @Test func twoWritersLoseNothing() async throws {
    let (one, two) = (provider(), provider())
    let key = try KeyName("k")
    try await withThrowingTaskGroup(of: KeyVersionID.self) { group in
      for i in 0..<6 {
        group.addTask { try await (i % 2 == 0 ? one : two).createKeyVersion(NewKeyVersion(key: key)).id }
      }
      var made: Set<KeyVersionID> = []
      for try await id in group { made.insert(id) }
      #expect(Set(try await one.keyVersions(of: key).map(\.id)) == made)
      #expect(Set(try await two.keyVersions(of: key).map(\.id)) == made)
    }
  }

  @Test func anothersStateChangeHoldsAtOnce() async throws {
    let (one, two) = (provider(), provider())
    let version = try await one.createKeyVersion(NewKeyVersion(key: KeyName("k")))
    let cek = SecretBytes.random(count: 32)
    _ = try await two.wrap(cek, under: version.id, aad: aad)
    _ = try await one.setState(.suspended, of: version.id)
    await #expect(throws: KMSError(.keyStateForbids, "")) { _ = try await two.wrap(cek, under: version.id, aad: aad) }
  }

  @Test func aMissingFolderIsToldAndNotMade() async throws {
    let lost = OpenSSLProvider(
      OpenSSLConfiguration(name: "local", keystore: folder.path + "/no/keys.p12", passphrase: secret("x")))
    await #expect(throws: KMSError(.fileNotFound, "")) {
      _ = try await lost.createKeyVersion(NewKeyVersion(key: KeyName("k")))
    }
  }

  @Test func aKilledWriterLeavesAWholeStore() async throws {
    let store = provider()
    let first = try await store.createKeyVersion(NewKeyVersion(key: KeyName("k")))
    for delay in [300, 500, 700, 900] {
      let writer = Process()
      writer.executableURL = URL(fileURLWithPath: builtProducts + "/KeyStoreWriter")
      writer.arguments = [path]
      writer.environment = ["PASS": "a long passphrase"]
      try writer.run()
      try await Task.sleep(for: .milliseconds(delay))
      kill(writer.processIdentifier, SIGKILL)
      writer.waitUntilExit()
      #expect(try await provider().keyVersions(of: nil).contains { $0.id == first.id })
      // The lock went with the process.
      _ = try await store.setState(.active, of: first.id)
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
    #expect(Set(names) == ["keys.p12", "keys.p12.lock"])
  }
}

import Envelope
import Foundation
import KMSCore
import OpenSSLProvider
import TestSupport
import Testing

/// From a key store to the plaintext with `openssl` and Scripts/open-envelope.py alone.
@Suite(.enabled(if: Python.isThere, "Scripts/interop/setup.sh has not made the Python environment"))
struct KeyStoreWayOutTests {
  @Test func opensslShowsTheKEKAndTheScriptOpensTheMessage() async throws {
    let folder = TemporaryFolder()
    let store = folder.path + "/keys.p12"
    let provider = OpenSSLProvider(
      OpenSSLConfiguration(name: "local", keystore: store, passphrase: secret("a long passphrase")))
    let version = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("customer-pii")))
    let cek = SecretBytes.random(count: 32)
    let context = try EncryptionContext([("row", "7")])
    let wrapped = try await provider.wrap(cek, under: version.id, aad: EncryptMessage.recipientAAD(context))
    await provider.close()
    let message = try EncryptMessage.seal(
      Array("hello".utf8).span, as: .field, context: context, cek: cek,
      recipients: [Recipient(kid: version.id, wrapped: wrapped)])
    try Data(message.encoded()).write(to: URL(fileURLWithPath: folder.path + "/message"))

    let shown = try await runProcess(
      "/usr/bin/openssl", ["pkcs12", "-in", store, "-passin", "env:PASS", "-nodes"],
      environment: ["PASS": "a long passphrase"])
    // The only line of 32 bytes in hex is the KEK; `openssl` puts spaces between them.
    let keks = shown.output.split(separator: "\n").filter { line in
      line.filter { $0 != " " }.count == 64 && line.allSatisfy { $0.isHexDigit || $0 == " " }
    }
    try #require(keks.count == 1)
    try keks[0].write(toFile: folder.path + "/kek.hex", atomically: true, encoding: .utf8)
    let result = try await Python.openEnvelope(
      [folder.path + "/message", "--kek", "\(version.id)=\(folder.path)/kek.hex", "--context", "row=7"])
    #expect(result.status == 0, "\(result.error)")
    #expect(result.output == "hello")
  }
}

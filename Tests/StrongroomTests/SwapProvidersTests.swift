import Foundation
import Strongroom
import SystemPackage
import TestSupport
import Testing

/// Swapping providers is one line of the configuration; the program stays the same.
struct SwapProvidersTests {
  /// All three are configured in each; only the first line differs.
  private static func yaml(provider: String, token: SoftHSM.Token) -> String {
    """
    provider: \(provider)
    providers:
      memory: { type: memory }
      openssl: { type: openssl, keystore: keys.p12, passphrase-source: "env:PASSPHRASE" }
      pkcs11: { type: pkcs11, uri: "\(token.uri)", pin-source: "env:PIN" }
    data-at-rest: { kms-key-id: default }
    """
  }

  @Test(
    "the same program", .enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"),
    arguments: ["memory", "openssl", "pkcs11"])
  func program(_ provider: String) async throws {
    let token = try SoftHSM.makeToken()
    try await withFolder { folder in
      let loaded = try configuration(
        Self.yaml(provider: provider, token: token), in: folder,
        environment: ["PASSPHRASE": "correct horse battery", "PIN": token.pin])
      let manager = try DataAtRestManager.open(loaded)
      let context = try EncryptionContext([(name: "table", value: "people")])

      let first = try await manager.createKey(try key)
      #expect(first.provider == provider)
      let plaintext = Array("Zoë, 9999 9560 9203 0946".utf8)
      let sealed = try await manager.encrypt(plaintext, context: context)
      #expect(try await manager.decrypt(sealed, context: context) == plaintext)

      let file = folder.appending("file")
      let (encrypted, opened) = (folder.appending("file.sealed"), folder.appending("file.opened"))
      try file.write(String(repeating: "line of a file\n", count: 20_000))
      try await manager.encryptFile(from: .path(file), to: .path(encrypted), context: context)

      let second = try await manager.rotate(try key, reason: "test")
      #expect(second.id > first.id)
      #expect(try await manager.decrypt(sealed, context: context) == plaintext)
      let rewrapped = try #require(try await manager.rewrap(sealed, context: context))
      #expect(try EncryptMessage(parsing: rewrapped, as: .field).recipients.map(\.kid) == [second.id])
      #expect(try await manager.decrypt(rewrapped, context: context) == plaintext)
      #expect(try await manager.rewrap(rewrapped, context: context) == nil)
      #expect(try await manager.rewrapFile(encrypted, context: context))
      try await manager.decryptFile(from: .path(encrypted), to: .path(opened), context: context)
      #expect(try opened.content == file.content)

      // A rewrapped envelope no longer needs the version before.
      try await manager.destroy(first.id, justifiedBy: .dataLossAccepted(first.key), reason: "test")
      #expect(try await manager.decrypt(rewrapped, context: context) == plaintext)
      await #expect(throws: KMSError.self) { try await manager.decrypt(sealed, context: context) }
      await manager.close()
    }
  }

  @Test("what one provider encrypted opens after the line was changed", .enabled(if: SoftHSM.isInstalled, "SoftHSM"))
  func migration() async throws {
    let token = try SoftHSM.makeToken()
    try await withFolder { folder in
      let environment = ["PASSPHRASE": "correct horse battery", "PIN": token.pin]
      let before = try DataAtRestManager.open(
        configuration(Self.yaml(provider: "openssl", token: token), in: folder, environment: environment))
      try await before.createKey(try key)
      let sealed = try await before.encrypt("a value")
      await before.close()

      let after = try DataAtRestManager.open(
        configuration(Self.yaml(provider: "pkcs11", token: token), in: folder, environment: environment))
      #expect(try await after.decryptString(sealed) == "a value")
      #expect(try await after.rotate(try key, reason: "move to the token").provider == "pkcs11")
      let rewrapped = try #require(try await after.rewrap(sealed))
      #expect(try await after.decryptString(rewrapped) == "a value")
      #expect(try await after.keyVersions(of: try key).map(\.provider) == ["openssl", "pkcs11"])
      await after.close()
    }
  }
}

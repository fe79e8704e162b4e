import Foundation
import KMSCore
import PKCS11Provider
import TestSupport
import Testing

private let aad: [UInt8] = [1]

/// A recovery key in the token: it wraps there and nothing else, seen with another program's eyes.
@Suite(
  .enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"),
  .enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/pkcs11-tool"), "opensc is not installed"))
struct RecoveryKeyTests {
  private let token: SoftHSM.Token

  init() throws { token = try SoftHSM.makeToken() }

  private func objects() async throws -> String {
    try await runProcess(
      "/usr/bin/pkcs11-tool",
      [
        "--module", token.module, "--token-label", token.label, "--login", "--pin", token.pin, "--list-objects",
      ]
    ).output
  }

  private func imported(_ provider: PKCS11Provider) async throws -> KeyVersion {
    try await provider.importKeyVersion(
      NewKeyVersion(key: KeyName("offline"), purpose: .recovery), material: .random(count: 32))
  }

  @Test func itWrapsOnlyAndTheTokenSaysSo() async throws {
    let provider = try token.provider()
    let version = try await imported(provider)
    #expect(version.enforcement == .token)
    let made = try await objects()
    #expect(made.contains("Usage:      wrap\n"), "\(made)")
    #expect(made.contains("Access:     sensitive\n"), "\(made)")
    _ = try await provider.setState(.deactivated, of: version.id)
    #expect(try await objects().contains("Usage:      none\n"))
    // Another process: nothing is remembered but what the token holds.
    let again = try token.provider()
    let listed = try await again.keyVersions(of: nil)
    #expect(listed.map(\.purpose) == [.recovery] && listed.map(\.state) == [.deactivated])
    #expect(listed.map(\.enforcement) == [.token])
    _ = try await again.setState(.active, of: version.id)
    let active = try await objects()
    #expect(active.contains("Usage:      wrap\n"), "\(active)")
    #expect(!active.contains("Data object"), "a record is left: \(active)")
    await provider.close()
    await again.close()
  }

  @Test func aRewrapToItStaysInTheTokenAndIsChecked() async throws {
    let provider = try token.provider()
    let ordinary = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("customer-pii")))
    let recovery = try await imported(provider)
    let bytes = [UInt8](0xC0...0xDF)
    let cek = SecretBytes(copying: bytes.span)
    // Of the bytes C0 to DF (RFC 9679), as in the provider contract.
    let thumbprint: [UInt8] = [
      0x6B, 0x5E, 0x61, 0xC6, 0x8E, 0x23, 0xC1, 0xB3, 0x9B, 0xAD, 0xE6, 0xE5, 0x1E, 0xFA, 0xE4, 0x16, 0x33, 0x8F, 0xAE,
      0x91, 0xC9, 0x2D, 0xF5, 0x12, 0x78, 0x34, 0xCD, 0x6A, 0x51, 0xFD, 0xBB, 0xBD,
    ]
    let wrapped = try await provider.wrap(cek, under: ordinary.id, aad: aad)
    let rewrapped = try await provider.rewrap(
      wrapped, from: ordinary.id, to: recovery.id, thumbprint: thumbprint, aad: aad)
    #expect(try await provider.wrap(cek, under: recovery.id, aad: aad) == rewrapped)
    await #expect(throws: KMSError(.doesNotOpen, "")) {
      _ = try await provider.rewrap(
        wrapped, from: ordinary.id, to: recovery.id, thumbprint: [UInt8](repeating: 0, count: 32), aad: aad)
    }
    await #expect(throws: KMSError(.keyPurposeForbids, "")) {
      _ = try await provider.rewrap(
        rewrapped, from: recovery.id, to: ordinary.id, thumbprint: thumbprint, aad: aad)
    }
    #expect(try await provider.sessionObjectCount() == 0)
    await provider.close()
  }
}

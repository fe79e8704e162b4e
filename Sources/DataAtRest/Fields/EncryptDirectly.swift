internal import AccessLog
internal import Envelope
internal import KMSCore

/// `envelope-encryption-enabled: false`: the provider encrypts (docs/envelope-format.md, section 5).
extension DataAtRestManager {
  func encryptDirectly(
    _ plaintext: [UInt8], context: EncryptionContext, key: KeyName, access: Access, event: inout AccessEvent
  ) async throws -> [UInt8] {
    event.key = key
    guard plaintext.count <= directEncryptionLimit else {
      throw Self.tooLongToEncryptDirectly("has \(plaintext.count) bytes", key)
    }
    let aad = Encrypt0Message.authenticatedData(context)
    return try await withNewest(access: access) {
      let version = try await directory.current(of: key, purpose: .encrypt, access: access)
      try checkWillUnwrap(version)
      event.version = version.id
      event.provider = version.provider
      return version
    } _: { version, provider in
      let sealed = try await provider.encrypt(plaintext.span, under: version.id, aad: aad)
      return try Encrypt0Message(keyID: version.id.bytes, iv: sealed.iv, ciphertext: sealed.bytes).encoded()
    }
  }

  static func tooLongToEncryptDirectly(_ size: String, _ key: KeyName) -> KMSError {
    KMSError(
      .limitExceeded, "direct encryption takes 64 KiB at most, this \(size)",
      advice: "Switch data-at-rest.envelope-encryption-enabled on.", key: key.description)
  }

  func decryptDirectly(
    _ message: [UInt8], context: EncryptionContext, allowCompromised: Bool, access: Access,
    event: inout AccessEvent
  ) async throws -> SecretBytes {
    let parsed = try Encrypt0Message(parsing: message)
    let id = try KeyVersionID(parsed.keyID)
    guard let version = try await directory.version(id, access: access) else {
      throw directory.failure
        ?? KMSError(
          .notOurs,
          "neither a provider nor the DEK store\(dekStore == nil ? " (there is none)" : "") holds the key \(id) "
            + "of this message",
          advice: "Configure the provider that holds it, or open the manager with the DEK store that does.")
    }
    event.key = version.key
    event.version = version.id
    event.provider = version.provider
    try Self.checkCompromised(version, allowed: allowCompromised)
    try checkMayUnwrap(version)
    let provider = try providers.provider(version.provider, access: access, key: version.key)
    return try await provider.decrypt(
      DirectCiphertext(iv: parsed.iv, bytes: parsed.ciphertext), under: id,
      aad: Encrypt0Message.authenticatedData(context))
  }
}

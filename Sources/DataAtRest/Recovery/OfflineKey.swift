internal import CryptoPrimitives
internal import Envelope
public import KMSCore

/// The copy of a recovery key that was kept offline: all that is needed to open an envelope.
public final class OfflineKey: Sendable {
  private enum Kind: Sendable {
    case symmetric(Held<SecretBytes>)
    case rsa(RSAKey)
  }
  private let kind: Kind

  /// A recovery key's 32 bytes, as shares give them back.
  ///
  /// - Throws: ``KMSError/Code/invalidInput`` for another length.
  public init(_ key: consuming SecretBytes) throws {
    try InputRules.checkKey(count: key.count)
    kind = .symmetric(Held(key))
  }

  /// A private RSA key.
  ///
  /// - Parameters:
  ///   - pem: the PEM file's text.
  ///   - passphrase: where its passphrase is, if it has one.
  ///   - name: the file's name, for errors.
  /// - Throws: ``KMSError/Code/accessDenied``, ``KMSError/Code/configurationInvalid``.
  public init(privatePEM pem: borrowing SecretBytes, passphrase: SecretSource?, name: String) throws {
    kind = .rsa(try RSAKey(privatePEM: pem, passphrase: passphrase, name: name))
  }

  /// A content key, and the recipient that gave it.
  struct Opened: ~Copyable {
    let cek: SecretBytes
    let recipient: Recipient
  }

  /// Opens the message's content key through the first recipient that this key opens.
  ///
  /// - Throws: ``KMSError/Code/notOurs`` when no recipient is of this kind, ``KMSError/Code/doesNotOpen`` when none opens.
  func contentKey(of message: EncryptMessage) throws -> Opened {
    let algorithm =
      switch kind {
      case .symmetric: WrapAlgorithm.a256KW
      case .rsa: WrapAlgorithm.rsaOAEP256
      }
    let recipients = message.recipients.filter { $0.wrapped.algorithm == algorithm }
    guard !recipients.isEmpty else {
      throw KMSError(
        .notOurs, "the envelope has no recipient by \(algorithm), which this key is for",
        advice: "'strongroom inspect' shows its recipients.")
    }
    for recipient in recipients {
      guard let cek = try open(recipient.wrapped) else { continue }
      let matches = constantTimeEqual(KeyThumbprint.of(cek).span, message.thumbprint.span)
      if matches { return Opened(cek: cek, recipient: recipient) }
    }
    throw KMSError(
      .doesNotOpen, "the offline key opens none of the \(recipients.count) recipients by \(algorithm)",
      advice: "It is another key, there were too few shares, or the envelope was made before the key was configured.")
  }

  private func open(_ wrapped: WrappedKey) throws -> SecretBytes? {
    do {
      switch kind {
      case .symmetric(let key): return try AESKeyWrap.unwrap(wrapped.bytes.span, kek: key.value)
      case .rsa(let key): return try key.decrypt(wrapped.bytes)
      }
    } catch let error as KMSError where error.code == .doesNotOpen { return nil }
  }
}

public import KMSCore
public import SystemPackage

/// One entry under `providers`: which implementation, and what it needs.
public struct ProviderSettings: Sendable {
  /// Its name under `providers`.
  public let name: String
  /// Which implementation, with its settings.
  public let kind: Kind
  /// Finds a secret's source by its name, for sources that stand inside a URI.
  let source: @Sendable (String) throws -> SecretSource

  /// The implementations.
  public enum Kind: Sendable {
    /// A token behind a PKCS#11 module.
    case pkcs11(TokenSettings)
    /// A PKCS#12 key store.
    case openSSL(keystore: String, passphrase: SecretSource)
    /// This process' memory: gone when it ends.
    case memory
    /// A public RSA key to wrap to, whose private half is kept elsewhere.
    case publicKey(pem: String, key: KeyName)
  }

  /// The file that holds the PIN or passphrase, when it comes from one.
  public let secretFile: FilePath?

  init(name: String, settings: Settings, folder: FilePath, environment: [String: String]) throws {
    self.name = name
    let sourceText =
      try settings.text("providers.\(name).pin-source") ?? settings.text("providers.\(name).passphrase-source")
    secretFile = sourceText.flatMap { text in
      text.hasPrefix("file:") ? folder.pushing(FilePath(SecretSource.path(inFileSource: text.dropFirst(5)))) : nil
    }
    source = { try SecretSource(parsing: $0, folder: folder, environment: environment) }
    func setting(_ leaf: String) throws -> String? { try settings.text("providers.\(name).\(leaf)") }
    func required(_ leaf: String, _ example: String) throws -> String {
      guard let value = try setting(leaf) else {
        throw KMSError(
          .configurationInvalid, "providers.\(name).\(leaf) is missing", advice: "For example: \(leaf): \(example)")
      }
      return value
    }
    switch try required("type", "pkcs11, openssl, public-key or memory") {
    case "pkcs11":
      kind = .pkcs11(try TokenSettings(name, settings, source: source))
    case "openssl":
      let keystore = folder.pushing(FilePath(try required("keystore", "./keys.p12"))).string
      guard let passphrase = try setting("passphrase-source").map(source) else {
        throw KMSError(
          .configurationInvalid, "providers.\(name).passphrase-source is missing",
          advice: "For example: passphrase-source: env:STRONGROOM_PASSPHRASE")
      }
      kind = .openSSL(keystore: keystore, passphrase: passphrase)
    case "memory": kind = .memory
    case "public-key":
      let pem = folder.pushing(FilePath(try required("pem", "./recovery.pem"))).string
      let key = try setting("key") ?? name
      guard KeyName.isValid(key) else {
        throw KMSError(
          .configurationInvalid, "providers.\(name).key: '\(key.prefix(80))' is not a key name",
          advice: "Name the key by 1 to 64 of a-z, 0-9, '.', '_' and '-'; its provider's name is the default.")
      }
      kind = .publicKey(pem: pem, key: try KeyName(key))
    case let other:
      throw KMSError(
        .configurationInvalid, "providers.\(name).type: '\(other.prefix(40))' is not a provider",
        advice: "Allowed are pkcs11, openssl, public-key and memory.")
    }
  }
}

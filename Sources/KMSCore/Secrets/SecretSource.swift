/// Where a PIN or passphrase comes from. The configuration names the source and never holds the secret.
public struct SecretSource: Sendable, CustomStringConvertible {
  /// The source's name as configured, such as `file:/run/secrets/pin`. Holds no secret.
  public let description: String
  package let asksAPerson: Bool
  private let reader: @Sendable () throws -> SecretBytes

  /// - Parameters:
  ///   - description: the source's name, without the secret.
  ///   - asksAPerson: whether somebody types it, and may mistype it.
  ///   - read: gives the secret, or throws ``KMSError/Code/secretUnavailable``. Never an empty secret.
  public init(
    description: String, asksAPerson: Bool = false, read: @escaping @Sendable () throws -> SecretBytes
  ) {
    self.description = description
    self.asksAPerson = asksAPerson
    reader = read
  }

  /// The secret, read anew at each call, so that a changed file is seen.
  public func read() throws -> SecretBytes {
    let secret = try reader()
    guard secret.count > 0 else {
      throw KMSError(
        .secretUnavailable, "the secret from \(description) is empty",
        advice: "Put the PIN or passphrase there; an empty one is never tried.")
    }
    return secret
  }

  /// A secret that is to protect something new: a person is asked twice.
  ///
  /// - Throws: ``KMSError/Code/secretUnavailable`` when the answers differ.
  public func readNew() throws -> SecretBytes {
    let secret = try read()
    let isSure = asksAPerson ? secret.equals(try read()) : true
    guard isSure else {
      throw KMSError(
        .secretUnavailable, "the secret from \(description) was not the same both times", advice: "Type it again.")
    }
    return secret
  }
}

public import KMSCore

/// What a provider of type `pkcs11` needs.
public struct TokenSettings: Sendable {
  /// URIs (RFC 7512) of tokens that hold the same keys; the first that answers serves. One at least.
  public let uris: [String]
  /// Where the PIN is; nil when a URI says so.
  public let pin: SecretSource?
  /// Sessions for calls, at most.
  public let maxSessions: Int
  /// Of each call.
  public let deadline: Duration
  /// How new keys may wrap, the best first.
  public let wrapAlgorithms: [WrapAlgorithm]
  /// A text for the module's start, which NSS wants.
  public let initArguments: String?

  private static let algorithms: [(name: String, algorithm: WrapAlgorithm)] = [
    ("A256KW", .a256KW), ("A256GCM", .a256GCM), ("RSA-OAEP-256", .rsaOAEP256), ("RSA-OAEP-SHA1", .rsaOAEPSHA1),
  ]
  /// SHA-1 only for who asks for it.
  private static let usual = algorithms.dropLast().map(\.name)

  init(_ provider: String, _ settings: Settings, source: (String) throws -> SecretSource) throws {
    func path(_ leaf: String) -> String { "providers.\(provider).\(leaf)" }
    let (one, several) = (try settings.text(path("uri")), settings.list(path("uris")))
    guard let uris = several ?? one.map({ [$0] }), !uris.isEmpty else {
      throw KMSError(
        .configurationInvalid, "\(path("uri")) is missing",
        advice: "For example: uri: \"pkcs11:token=prod?module-path=/usr/lib/softhsm/libsofthsm2.so\"")
    }
    guard one == nil || several == nil else {
      throw KMSError(
        .configurationInvalid, "\(path("uris")) and uri are both there", advice: "Put all tokens under uris.")
    }
    self.uris = uris
    pin = try settings.text(path("pin-source")).map(source)
    maxSessions =
      try settings.converted(path("max-sessions"), "1 to 1024") { text in
        Int(text).flatMap { (1...1024).contains($0) ? $0 : nil }
      } ?? 8
    deadline = try settings.duration(path("deadline")) ?? .seconds(10)
    guard (.seconds(1) ... .seconds(3600)).contains(deadline) else {
      throw KMSError(.configurationInvalid, "\(path("deadline")) is out of bounds", advice: "Allowed is 1s to 1h.")
    }
    initArguments = try settings.text(path("init-args"))
    wrapAlgorithms = try (settings.list(path("wrap-algorithms")) ?? Self.usual).map { name in
      guard let known = Self.algorithms.first(where: { $0.name == name }) else {
        throw KMSError(
          .configurationInvalid, "\(path("wrap-algorithms")): '\(name.prefix(40))' is no way to wrap",
          advice: "Allowed are \(Self.algorithms.map(\.name).joined(separator: ", ")), the best first.")
      }
      return known.algorithm
    }
    guard !wrapAlgorithms.isEmpty, Set(wrapAlgorithms).count == wrapAlgorithms.count else {
      throw KMSError(
        .configurationInvalid, "\(path("wrap-algorithms")) is empty, or names one twice",
        advice: "Name each once, the best first, or leave it out.")
    }
  }
}

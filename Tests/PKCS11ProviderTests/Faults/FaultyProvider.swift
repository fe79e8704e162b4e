import KMSCore
import PKCS11
import PKCS11Provider
import TestSupport

extension FaultyModule {
  /// A provider that does not wait before it opens the token anew.
  func impatient(
    deadline: Duration = .seconds(30), reopenInterval: Duration = .milliseconds(1), maxSessions: Int = 8,
    pin: SecretSource? = nil, algorithms: [WrapAlgorithm] = PKCS11Configuration.defaultWrapAlgorithms,
    others: [FaultyModule] = []
  ) throws -> PKCS11Provider {
    PKCS11Provider(
      PKCS11Configuration(
        name: "faulty", tokens: try ([self] + others).map { try PKCS11URI(parsing: $0.uri) },
        // The library's file is there as long as the provider is.
        pin: SecretSource(description: "test") { [self] in try (pin ?? secret(token.pin)).read() },
        maxSessions: maxSessions, deadline: deadline, reopenInterval: reopenInterval,
        wrapAlgorithms: algorithms))
  }
}

extension FaultyModule {
  /// Runs `body` with a session beside the provider's, logged in, as another program would have it.
  func withSession<R>(_ body: (Session) throws(CallFailure) -> R) throws -> R {
    let module = try Module(path: path)
    do throws(CallFailure) {
      let session = try Session(module: module, slot: slot(in: module))
      try session.login(pin: SecretBytes(copying: Array(token.pin.utf8).span))
      return try body(session)
    } catch { throw error.error }
  }

  private func slot(in module: Module) throws(CallFailure) -> UInt {
    do { return try Token.find(label: token.label, serial: nil, in: module).slot } catch {
      throw CallFailure("C_GetSlotList", problem: "\(error)")
    }
  }
}

let boundData: [UInt8] = [1]

/// What it throws; nil when it does not.
func failure(_ body: () async throws -> Void) async -> KMSError? {
  do {
    try await body()
    return nil
  } catch { return error as? KMSError ?? KMSError(.providerFailed, "no KMSError: \(error)") }
}

extension PKCS11Provider {
  func makeKey(_ name: String = "key") async throws -> KeyVersionID {
    try await createKeyVersion(NewKeyVersion(key: KeyName(name))).id
  }

  func wrapOnce(_ id: KeyVersionID) async throws -> WrappedKey {
    try await wrap(SecretBytes.random(count: 32), under: id, aad: boundData)
  }

  /// Whether a key comes back as it was.
  func roundTrips(_ id: KeyVersionID) async throws -> Bool {
    let secret = SecretBytes.random(count: 32)
    let back = try await unwrap(wrap(secret, under: id, aad: boundData), under: id, aad: boundData)
    return back.equals(secret)
  }
}

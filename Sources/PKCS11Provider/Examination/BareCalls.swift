internal import KMSCore
internal import PKCS11

/// The calls that wrap and unwrap a key, with nothing around them: one session, a session key as KEK, no pool, no index.
/// What the suite costs is held against them.
package final class BareCalls: @unchecked Sendable {  // for one caller at a time
  private let session: Session
  private let kek: UInt
  private let algorithm: WrapAlgorithm
  private let abilities: WrapAbilities
  private let secret = SharedSecret(.random(count: 32))
  private var wrapped: WrappedKey

  fileprivate init(_ session: Session, _ algorithm: WrapAlgorithm, _ abilities: WrapAbilities) throws(CallFailure) {
    self.session = session
    self.algorithm = algorithm
    self.abilities = abilities
    kek = try session.generateProbe(encrypts: algorithm == .a256GCM)
    wrapped = WrappedKey(algorithm: algorithm, bytes: [])
    try makeWrapped()
  }

  /// Wraps a key of 32 bytes.
  package func wrap() throws { do throws(CallFailure) { try makeWrapped() } catch { throw error.error } }

  /// Unwraps what was wrapped last.
  package func unwrap() throws {
    do throws(CallFailure) {
      _ =
        algorithm == .a256GCM
        ? try session.decrypt(wrapped.bytes, under: kek, iv: wrapped.iv, aad: Self.aad)
        : try session.unwrap(wrapped.bytes, under: kek)
    } catch { throw error.error }
  }

  private func makeWrapped() throws(CallFailure) {
    guard algorithm == .a256GCM else {
      wrapped = WrappedKey(algorithm: algorithm, bytes: try session.wrap(secret.bytes, under: kek))
      return
    }
    let behaviour = try abilities.gcmIV(on: session)
    let sealed = try secret.bytes.withBytes { span throws(CallFailure) in
      try session.encrypt(span, under: kek, aad: Self.aad, behaviour)
    }
    wrapped = WrappedKey(algorithm: algorithm, iv: sealed.iv, bytes: sealed.bytes)
  }

  private static let aad = [UInt8](repeating: 0, count: 64)

  deinit { session.destroyQuietly(kek) }
}

extension PKCS11Provider {
  /// In a session of its own; nil where keys are wrapped by RSA, in this process.
  package func bareCalls() async throws -> BareCalls? {
    try await calling("bench") { connection in
      guard let algorithm = connection.abilities.chosen, algorithm == .a256KW || algorithm == .a256GCM else {
        return nil
      }
      let (module, token, abilities) = (connection.module, connection.token, connection.abilities)
      let session = try Session(module: module, slot: token.slot, profile: abilities.sessionKeys)
      return try BareCalls(session, algorithm, abilities)
    }
  }
}

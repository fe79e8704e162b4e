import CryptoPrimitives  // stands for what your device or library offers
import KMSCore
import Synchronization

final class GuideProvider: KMSProvider {
  let identity = ProviderIdentity(kind: "guide", name: "guide")
  private let keys = Mutex(Keys())

  private struct Keys {
    var versions: [KeyVersionID: Held] = [:]
    var isClosed = false
  }

  /// A class only because a KEK is never copied.
  private final class Held: Sendable {
    let version: KeyVersion
    let kek: SecretBytes

    init(_ version: KeyVersion, _ kek: consuming SecretBytes) {
      self.version = version
      self.kek = kek
    }
  }

  func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    try use("list-versions") { keys in
      keys.versions.values.map(\.version).filter { name == nil || $0.key == name }.sorted { $0.id < $1.id }
    }
  }

  func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try use("create-version") { keys in
      guard keys.versions[request.id] == nil else {
        throw KMSError(.duplicateKeyVersion, "there is a version \(request.id) already", advice: "Make a new id.")
      }
      let version = KeyVersion(
        id: request.id, key: request.key, purpose: request.purpose, state: .active, enforcement: .suite,
        provider: identity.name)
      keys.versions[request.id] = Held(version, .random(count: 32))
      return version
    }
  }

  func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    try use("set-state") { keys in
      let held = try find(id, in: keys)
      try held.version.check(transitionTo: state)
      let changed = held.version.with(state: state)
      keys.versions[id] = state == .destroyed ? nil : Held(changed, held.kek.copy())
      return changed
    }
  }

  func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    guard key.count == 32 else {
      throw KMSError(.invalidInput, "a key has 32 bytes, this one \(key.count)", advice: "Give 32 bytes.")
    }
    let held = try use("wrap") { try find(id, in: $0) }
    try held.version.check(purpose: .wrap, allowing: \.wraps, operation: "wrap")
    return WrappedKey(algorithm: .a256KW, bytes: try key.withBytes { try AESKeyWrap.wrap($0, kek: held.kek) })
  }

  func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    let held = try use("unwrap") { try find(id, in: $0) }
    try held.version.check(purpose: .wrap, allowing: \.unwraps, operation: "unwrap")
    guard wrapped.algorithm == .a256KW else {
      throw KMSError(.notSupported, "\(wrapped.algorithm) is not known here", advice: "Use another provider.")
    }
    guard wrapped.bytes.count == 40 else {
      throw KMSError(.doesNotOpen, "a wrapped key has 40 bytes", advice: "Take a good copy.")
    }
    return try AESKeyWrap.unwrap(wrapped.bytes.span, kek: held.kek)
  }

  func health() async -> ProviderHealth {
    let isClosed = keys.withLock { $0.isClosed }
    return ProviderHealth(isServing: !isClosed, detail: isClosed ? "closed" : "keys in memory")
  }

  func close() async {
    keys.withLock { keys in
      keys.versions = [:]
      keys.isClosed = true
    }
  }

  /// What every call begins with: cancellation is looked at, and a closed provider serves nothing.
  private func use<Result>(_ operation: String, _ body: (inout Keys) throws -> Result) throws -> Result {
    try Task.checkCancellation()
    return try keys.withLock { keys in
      guard !keys.isClosed else {
        throw KMSError(.closed, "the provider was closed", provider: identity.name, operation: operation)
      }
      return try body(&keys)
    }
  }

  private func find(_ id: KeyVersionID, in keys: Keys) throws -> Held {
    guard let held = keys.versions[id] else {
      throw KMSError(.keyNotFound, "there is no key version \(id)", provider: identity.name)
    }
    return held
  }
}

public import KMSCore
internal import Synchronization

/// A provider in front of another that fails when it is told to, for faults that cannot be had otherwise.
///
/// Direct encryption is passed on as well, where the provider inside can do it.
public final class FaultInjectingProvider: KMSProvider, DirectEncrypting {
  /// The base's.
  public let identity: ProviderIdentity
  private let base: any KMSProvider

  private struct Fault {
    let error: KMSError
    var callsBefore: Int
  }
  private let faults = Mutex<[AccessEvent.Operation: Fault]>([:])

  /// - Parameter base: does the work.
  public init(_ base: any KMSProvider) {
    identity = base.identity
    self.base = base
  }

  /// Lets the next `after` calls of `operation` pass, and every later one fail with `error`; nil ends that.
  public func fail(_ operation: AccessEvent.Operation, after calls: Int = 0, with error: KMSError?) {
    faults.withLock { $0[operation] = error.map { Fault(error: $0, callsBefore: calls) } }
  }

  private func pass(_ operation: AccessEvent.Operation) throws {
    try faults.withLock { faults throws(any Error) in
      guard let fault = faults[operation] else { return }
      guard fault.callsBefore == 0 else {
        faults[operation]?.callsBefore -= 1
        return
      }
      throw fault.error
    }
  }

  /// See ``KMSProvider/keyVersions(of:)``.
  public func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    try pass(.listVersions)
    return try await base.keyVersions(of: name)
  }

  /// See ``KMSProvider/createKeyVersion(_:)``.
  public func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try pass(.createVersion)
    return try await base.createKeyVersion(request)
  }

  /// See ``KMSProvider/setState(_:of:)``.
  public func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    try pass(.setState)
    return try await base.setState(state, of: id)
  }

  /// See ``KMSProvider/wrap(_:under:aad:)``.
  public func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    try pass(.wrap)
    return try await base.wrap(key, under: id, aad: aad)
  }

  /// See ``KMSProvider/unwrap(_:under:aad:)``.
  public func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try pass(.unwrap)
    return try await base.unwrap(wrapped, under: id, aad: aad)
  }

  /// The base's, unless `health` is to fail.
  public func health() async -> ProviderHealth {
    do { try pass(.health) } catch { return ProviderHealth(isServing: false, detail: "\(error)") }
    return await base.health()
  }

  /// Closes the base.
  public func close() async { await base.close() }

  /// See ``DirectEncrypting/encrypt(_:under:aad:)``.
  public func encrypt(_ plaintext: Span<UInt8>, under id: KeyVersionID, aad: [UInt8]) async throws -> DirectCiphertext {
    try pass(.directEncrypt)
    return try await direct().encrypt(plaintext, under: id, aad: aad)
  }

  /// See ``DirectEncrypting/decrypt(_:under:aad:)``.
  public func decrypt(_ ciphertext: DirectCiphertext, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes
  {
    try pass(.directDecrypt)
    return try await direct().decrypt(ciphertext, under: id, aad: aad)
  }

  private func direct() throws -> any DirectEncrypting {
    guard let base = base as? any DirectEncrypting else {
      throw KMSError(.notSupported, "the provider inside does not encrypt data itself")
    }
    return base
  }
}

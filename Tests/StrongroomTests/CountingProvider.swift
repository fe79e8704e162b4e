import InMemoryProvider
import Strongroom
import Synchronization

/// Keys in memory, with every call noted in the words of the access log.
final class CountingProvider: KMSProvider, KeyImporting, KeyAdopting, DirectEncrypting {
  private let base: InMemoryProvider
  private let noted = Mutex<[AccessEvent.Operation]>([])
  var identity: ProviderIdentity { base.identity }
  var calls: [AccessEvent.Operation] { noted.withLock { $0 } }

  init(name: String = "counted") { base = InMemoryProvider(name: name) }

  private func note(_ operation: AccessEvent.Operation) -> InMemoryProvider {
    noted.withLock { $0.append(operation) }
    return base
  }

  func keyVersions(of name: KeyName?) async throws -> [KeyVersion] {
    try await note(.listVersions).keyVersions(of: name)
  }
  func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try await note(.createVersion).createKeyVersion(request)
  }
  func importKeyVersion(_ request: NewKeyVersion, material: borrowing SecretBytes) async throws -> KeyVersion {
    try await note(.importVersion).importKeyVersion(request, material: material)
  }
  /// There is one key of somebody else's, whatever its id.
  func adoptableKeys() async throws -> [AdoptionCandidate] {
    _ = note(.listAdoptable)
    return [AdoptionCandidate(id: nil, label: "somebody's", purpose: .wrap, obstacles: [], warnings: [])]
  }
  func adoptKey(_ request: NewKeyVersion, restricting: Bool) async throws -> AdoptedKey {
    AdoptedKey(version: try await note(.adoptVersion).createKeyVersion(request), warnings: ["somebody made it"])
  }
  func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    try await note(.setState).setState(state, of: id)
  }
  func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
    try await note(.wrap).wrap(key, under: id, aad: aad)
  }
  func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try await note(.unwrap).unwrap(wrapped, under: id, aad: aad)
  }
  func encrypt(_ plaintext: Span<UInt8>, under id: KeyVersionID, aad: [UInt8]) async throws -> DirectCiphertext {
    try await note(.directEncrypt).encrypt(plaintext, under: id, aad: aad)
  }
  func decrypt(_ ciphertext: DirectCiphertext, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
    try await note(.directDecrypt).decrypt(ciphertext, under: id, aad: aad)
  }
  func health() async -> ProviderHealth { await note(.health).health() }
  func close() async { await note(.close).close() }
}

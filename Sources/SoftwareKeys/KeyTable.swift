package import CryptoPrimitives
package import KMSCore

/// Key versions whose KEKs are in the process, with the rules of states and purposes. A value: whoever holds it
/// guards it.
package struct KeyTable: Sendable {
  /// A version and its KEK. A class only because a KEK is never copied.
  package final class Entry: Sendable {
    package let version: KeyVersion
    package let kek: SecretBytes

    package init(version: KeyVersion, kek: consuming SecretBytes) {
      self.version = version
      self.kek = kek
    }
  }

  /// A key that signs, in the process.
  package struct Signer: Sendable {
    package let id: KeyVersionID
    package let name: KeyName
    package let key: ECDSAKey

    package init(id: KeyVersionID, name: KeyName, key: ECDSAKey) {
      self.id = id
      self.name = name
      self.key = key
    }

    package var signingKey: SigningKey { SigningKey(id: id, name: name, publicKey: key.publicKey) }
  }

  private var entries: [KeyVersionID: Entry] = [:]
  /// Oldest first.
  package private(set) var signers: [Signer] = []

  package init() {}

  /// The newest of the name.
  package func signer(named name: KeyName) -> Signer? { signers.last { $0.name == name } }

  /// - Throws: ``KMSError/Code/keyNotFound``.
  package func signer(_ id: KeyVersionID, provider: String) throws -> Signer {
    guard let signer = signers.last(where: { $0.id == id }) else {
      throw KMSError(
        .keyNotFound, "there is no signing key \(id)", advice: "Make one with: strongroom log key --create",
        provider: provider, operation: "sign")
    }
    return signer
  }

  package mutating func insert(_ signer: Signer) {
    signers.append(signer)
    signers.sort { $0.id < $1.id }
  }

  /// Oldest first.
  package var all: [Entry] { entries.values.sorted { $0.version.id < $1.version.id } }

  package func versions(of name: KeyName?) -> [KeyVersion] {
    all.map(\.version).filter { name == nil || $0.key == name }
  }

  /// - Throws: ``KMSError/Code/duplicateKeyVersion``.
  package mutating func insert(_ entry: Entry) throws -> KeyVersion {
    let version = entry.version
    if let other = entries[version.id]?.version {
      throw KMSError(
        .duplicateKeyVersion, "key '\(other.key)' has a version \(version.id) already",
        advice: "Ids are never used twice; make a new one.", provider: version.provider, key: version.key.description)
    }
    entries[version.id] = entry
    return version
  }

  /// - Throws: ``KMSError/Code/keyNotFound``, ``KMSError/Code/illegalStateTransition``.
  package mutating func setState(_ state: KeyState, of id: KeyVersionID, provider: String) throws -> KeyVersion {
    let entry = try find(id, operation: "set-state", provider: provider)
    try entry.version.check(transitionTo: state)
    let changed = entry.version.with(state: state)
    entries[id] = state == .destroyed ? nil : Entry(version: changed, kek: entry.kek.copy())
    return changed
  }

  /// The entry, if purpose and state allow the use.
  package func entry(
    _ id: KeyVersionID, for purposes: [KeyPurpose], allowing: (KeyState) -> Bool, operation: String, provider: String
  ) throws -> Entry {
    let entry = try find(id, operation: operation, provider: provider)
    try entry.version.check(purposes: purposes, allowing: allowing, operation: operation)
    return entry
  }

  private func find(_ id: KeyVersionID, operation: String, provider: String) throws -> Entry {
    guard let entry = entries[id] else {
      throw KMSError(
        .keyNotFound, "there is no key version \(id)", advice: "'strongroom key list' shows what there is.",
        provider: provider, operation: operation)
    }
    return entry
  }

  package static func closed(_ provider: String, _ operation: String) -> KMSError {
    KMSError(
      .closed, "the provider was closed", advice: "Open another manager.", provider: provider, operation: operation)
  }
}

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

  private var entries: [KeyVersionID: Entry] = [:]

  package init() {}

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

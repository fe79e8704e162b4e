internal import CryptoPrimitives
internal import KMSCore
internal import PKCS11

/// Which key versions the token holds, and their handles: a search of the token takes milliseconds where it holds
/// many keys, so it is not made for each call. Ours are the keys whose id the suite made, and those that it adopted.
struct KeyIndex: Sendable {
  struct Entry: Sendable {
    let version: KeyVersion
    let handle: UInt
    /// The handle, and those of copies that a change of state has left (see `Session.replace`), or of a public key.
    let all: [UInt]
    /// What it wraps by.
    var algorithm = WrapAlgorithm.a256KW
    /// For RSA.
    var publicKey: RSAKey?
    /// Handles of the records of its state.
    var records: [UInt] = []
    /// Whether this handle was found to name the key that it names.
    var isVerified = false

    /// Whether nothing is left to do for the token to enforce the version's state. It cannot for RSA.
    var showsItsState: Bool { publicKey != nil || (all.count == 1 && version.enforcement == .token) }
  }

  private(set) var entries: [KeyVersionID: Entry] = [:]
  /// Ids that more than one key has, with the keys' labels.
  private(set) var duplicates: [KeyVersionID: [String]] = [:]
  let begun = ContinuousClock.now
  private(set) var took = Duration.zero

  /// Reads all keys and records.
  ///
  /// - Parameter only: the one version to read; nil for all.
  /// - Throws: a failure that means a stale handle when another process changes the keys meanwhile: read again.
  init(reading session: Session, provider: String, only: KeyVersionID? = nil) throws(CallFailure) {
    var records: [KeyVersionID: StateRecord] = [:]
    var handles: [KeyVersionID: [UInt]] = [:]
    // A record that is gone is that of a change which is complete: the flags, read below, say what it said.
    for (handle, found) in try session.records(StateRecord.kind, of: only) {
      handles[found.id, default: []].append(handle)
      guard let record = StateRecord(found) else { continue }
      // Two records of one version: a change was cut off between them. The stricter one holds.
      if let other = records[record.id], other.state.strictness >= record.state.strictness { continue }
      records[record.id] = record
    }
    let adopted = try session.adoptions(of: only)
    var candidates: [KeyVersionID: [Candidate]] = [:]
    for handle in try session.find(only.map(KeyTemplates.keys) ?? KeyTemplates.allKeys) {
      if let candidate = try Candidate(handle, session) { candidates[candidate.id, default: []].append(candidate) }
    }
    for (id, keys) in candidates {
      let versions = keys.map { key in
        key.name(adopted[id]?.key).flatMap { Self.version(id, $0, key.flags, records[id], adopted[id], provider) }
      }
      guard keys.count == 1 || Self.isOneKey(keys) else {
        // Also where the other key is none of ours: which of the two a call meets would be chance.
        if versions.contains(where: { $0 != nil }) { duplicates[id] = keys.map(\.label) }
        continue
      }
      // Of copies, the one that may do least: the stricter state holds.
      guard let best = versions.indices.min(by: { keys[$0].flags.count < keys[$1].flags.count }),
        let version = versions[best]
      else { continue }
      entries[id] = Entry(
        version: version, handle: keys[best].handle, all: keys.map(\.handle),
        algorithm: version.purpose == .wrap ? adopted[id]?.algorithm ?? .a256KW : .a256KW, records: handles[id] ?? [])
    }
    for (id, pairs) in try session.pairs(named: adopted) {
      guard pairs.count == 1, entries[id] == nil, let record = adopted[id], candidates[id] == nil else {
        duplicates[id] = pairs.map(\.label) + (candidates[id] ?? []).map(\.label)
        continue
      }
      let pair = pairs[0]
      let version = KeyVersion(
        id: id, key: record.key, purpose: .wrap, state: records[id]?.state ?? .active, enforcement: .suite,
        provider: provider)
      entries[id] = Entry(
        version: version, handle: pair.privateKey, all: pair.all, algorithm: record.algorithm,
        publicKey: pair.publicKey, records: handles[id] ?? [])
    }
    took = ContinuousClock.now - begun
  }

  mutating func noteVerified(_ entry: Entry) {
    guard entries[entry.version.id]?.handle == entry.handle else { return }
    entries[entry.version.id]?.isVerified = true
  }

  /// Of an index of the same connection: as long as a handle is the same, it names the same key.
  mutating func keepVerified(of old: KeyIndex?) {
    for entry in old?.entries.values ?? [:].values where entry.isVerified { noteVerified(entry) }
  }

  /// An AES key on the token, ours or not.
  private struct Candidate {
    let handle: UInt
    let id: KeyVersionID
    let label: String
    /// Whether its value stays in the token.
    let isKept: Bool
    let flags: Flags
    let checkValue: [UInt8]

    init?(_ handle: UInt, _ session: Session) throws(CallFailure) {
      let values = try session.attributes(
        of: handle, [.id, .label, .wrap, .unwrap, .encrypt, .decrypt, .sensitive, .extractable, .checkValue])
      guard let id = values[0].flatMap({ try? KeyVersionID($0) }) else { return nil }
      self.handle = handle
      self.id = id
      label = String(decoding: values[1] ?? [], as: UTF8.self)
      isKept = values[6] == [1] && values[7] == [0]
      flags = Flags(values[2...5].map { $0 == [1] })
      checkValue = values[8] ?? []
    }

    /// Nil for a key that is none of ours.
    func name(_ adopted: KeyName?) -> KeyName? {
      isKept ? adopted ?? (id.isUUIDv7 ? try? KeyName(label) : nil) : nil
    }
  }

  /// Whether these are copies of one key, which a change of its state leaves when it is cut off: the token says that
  /// they have one check value.
  private static func isOneKey(_ keys: [Candidate]) -> Bool {
    keys.allSatisfy { key in
      key.isKept && key.label == keys[0].label && !key.checkValue.isEmpty && key.checkValue == keys[0].checkValue
    }
  }

  var handles: Set<UInt> { Set(entries.values.map(\.handle)) }

  /// - Throws: ``KMSError/Code/duplicateKeyVersion`` when two keys have this id.
  func entry(_ id: KeyVersionID) throws(KMSError) -> Entry? {
    if let labels = duplicates[id] { throw Self.duplicate(id, labels) }
    return entries[id]
  }

  func versions(of name: KeyName?) throws -> [KeyVersion] {
    for (id, labels) in duplicates where name == nil || labels.contains(name?.description ?? "") {
      throw Self.duplicate(id, labels)
    }
    return entries.values.map(\.version).filter { name == nil || $0.key == name }.sorted { $0.id < $1.id }
  }

  struct Flags: Equatable {
    let wrap, unwrap, encrypt, decrypt: Bool

    /// How many uses are allowed.
    var count: Int { [wrap, unwrap, encrypt, decrypt].count { $0 } }

    /// What a key of this purpose may do in this state.
    init(_ purpose: KeyPurpose, _ state: KeyState, _ algorithm: WrapAlgorithm = .a256KW) {
      let (forward, back) = (purpose.seals(in: state), purpose.opens(in: state))
      let encrypts = purpose.encrypts(by: algorithm)
      wrap = !encrypts && forward
      unwrap = !encrypts && back
      encrypt = encrypts && forward
      decrypt = encrypts && back
    }

    /// The private half of a pair.
    static let privateRSA = Flags([false, false, false, true])

    init(_ values: [Bool]) {
      wrap = values[0]
      unwrap = values[1]
      encrypt = values[2]
      decrypt = values[3]
    }
  }

  private static func version(
    _ id: KeyVersionID, _ name: KeyName, _ flags: Flags, _ record: StateRecord?, _ adoption: AdoptionRecord?,
    _ provider: String
  ) -> KeyVersion? {
    // A key that could do both is none of ours: whoever holds a session could read out what it wraps.
    guard !((flags.wrap || flags.unwrap) && (flags.encrypt || flags.decrypt)) else { return nil }
    // Wrapping without unwrapping is a recovery key, or a change of state that is under way: the record tells.
    let byUse: KeyPurpose? =
      flags.unwrap ? .wrap : flags.encrypt || flags.decrypt ? .encrypt : flags.wrap ? .recovery : nil
    let algorithm = adoption?.algorithm ?? .a256KW
    guard let purpose = adoption?.purpose ?? record?.purpose ?? byUse,
      byUse.map({ ($0 == .encrypt) == purpose.encrypts(by: algorithm) }) ?? true
    else { return nil }
    let byFlags: KeyState =
      flags.wrap || flags.encrypt ? .active : flags.unwrap || flags.decrypt ? .deactivated : .suspended
    let state = record?.state ?? byFlags
    return KeyVersion(
      id: id, key: name, purpose: purpose, state: state,
      enforcement: flags == Flags(purpose, state, algorithm) ? .token : .suite, provider: provider)
  }

  private static func duplicate(_ id: KeyVersionID, _ labels: [String]) -> KMSError {
    KMSError(
      .duplicateKeyVersion, "\(labels.count) keys in the token have the id \(id): \(labels.joined(separator: ", "))",
      advice: "Give all but one another CKA_ID with the vendor's tool; until then none of them is used.")
  }
}

extension KeyPurpose {
  /// Whether the token has the key encrypt and decrypt, rather than wrap and unwrap.
  func encrypts(by algorithm: WrapAlgorithm) -> Bool {
    self == .encrypt || (self == .wrap && algorithm == .a256GCM)
  }
}

extension KeyState {
  /// How much a state forbids: of two, the stricter holds.
  var strictness: Int {
    switch self {
    case .active: 0
    case .deactivated: 1
    case .compromised: 2
    case .suspended: 3
    case .destroyed: 4
    }
  }
}

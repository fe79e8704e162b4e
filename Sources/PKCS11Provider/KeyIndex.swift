internal import KMSCore
internal import PKCS11

/// Which key versions the token holds, and their handles: a search of the token takes milliseconds where it holds
/// many keys, so it is not made for each call. Ours are the keys whose id the suite made, and those that it adopted.
struct KeyIndex: Sendable {
  struct Entry: Sendable {
    let version: KeyVersion
    let handle: UInt
  }

  private(set) var entries: [KeyVersionID: Entry] = [:]
  /// Ids that more than one key has, with the keys' labels.
  private(set) var duplicates: [KeyVersionID: [String]] = [:]
  let loaded = ContinuousClock.now

  /// Reads all keys and records.
  init(reading session: Session, provider: String) throws(CallFailure) {
    var records: [KeyVersionID: StateRecord] = [:]
    for handle in try session.find(StateRecord.all) {
      let values = try session.attributes(of: handle, [.label, .value])
      guard let record = StateRecord(label: values[0], value: values[1]) else { continue }
      // Two records of one version: a change was cut off between them. The stricter one holds.
      if let other = records[record.id], other.state.strictness >= record.state.strictness { continue }
      records[record.id] = record
    }
    let adopted = try session.adoptions()
    var labels: [KeyVersionID: [String]] = [:]
    for handle in try session.find(KeyTemplates.allKeys) {
      let values = try session.attributes(
        of: handle, [.id, .label, .wrap, .unwrap, .encrypt, .decrypt, .sensitive, .extractable])
      guard let id = values[0].flatMap({ try? KeyVersionID($0) }) else { continue }
      let label = String(decoding: values[1] ?? [], as: UTF8.self)
      labels[id, default: []].append(label)
      guard let name = adopted[id]?.key ?? (id.isUUIDv7 ? try? KeyName(label) : nil), values[6] == [1],
        values[7] == [0]
      else { continue }
      let flags = Flags(values[2...5].map { $0 == [1] })
      guard let version = Self.version(id, name, flags, records[id], adopted[id], provider) else { continue }
      entries[id] = Entry(version: version, handle: handle)
    }
    // Also where the other key is none of ours: which of the two a call meets would be chance.
    duplicates = labels.filter { entries[$0.key] != nil && $0.value.count > 1 }
  }

  /// - Throws: ``KMSError/Code/duplicateKeyVersion`` when two keys have this id.
  func entry(_ id: KeyVersionID) throws -> Entry? {
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

    /// What a key of this purpose may do in this state.
    init(_ purpose: KeyPurpose, _ state: KeyState) {
      let (forward, back) = (purpose.seals(in: state), purpose.opens(in: state))
      wrap = purpose != .encrypt && forward
      unwrap = purpose != .encrypt && back
      encrypt = purpose == .encrypt && forward
      decrypt = purpose == .encrypt && back
    }

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
    guard let purpose = adoption?.purpose ?? record?.purpose ?? byUse,
      byUse.map({ ($0 == .encrypt) == (purpose == .encrypt) }) ?? true
    else { return nil }
    let byFlags: KeyState =
      flags.wrap || flags.encrypt ? .active : flags.unwrap || flags.decrypt ? .deactivated : .suspended
    let state = record?.state ?? byFlags
    return KeyVersion(
      id: id, key: name, purpose: purpose, state: state,
      enforcement: flags == Flags(purpose, state) ? .token : .suite, provider: provider)
  }

  private static func duplicate(_ id: KeyVersionID, _ labels: [String]) -> KMSError {
    KMSError(
      .duplicateKeyVersion, "\(labels.count) keys in the token have the id \(id): \(labels.joined(separator: ", "))",
      advice: "Give all but one another CKA_ID with the vendor's tool; until then none of them is used.")
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

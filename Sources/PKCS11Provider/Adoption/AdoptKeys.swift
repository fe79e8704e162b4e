public import KMSCore
internal import PKCS11

extension PKCS11Provider: KeyAdopting {
  public func adoptableKeys() async throws -> [AdoptionCandidate] {
    let name = identity.name
    return try await calling("list-adoptable") { connection in
      let byCopy = connection.token.overwritesObjects
      return try await connection.pool.withSession { session throws(CallFailure) in
        let foreign = try session.foreignKeys(KeyIndex(reading: session, provider: name), joinsCopies: byCopy)
        return foreign.keys.map { $0.candidate(among: foreign.ids) }
      }
    }.sorted { ($0.label, $0.id?.description ?? "") < ($1.label, $1.id?.description ?? "") }
  }

  public func adoptKey(_ request: NewKeyVersion, restricting: Bool) async throws -> AdoptedKey {
    let name = identity.name
    return try await calling("adopt-version") { connection in
      defer { connection.forgetKeys() }
      let (abilities, byCopy) = (connection.abilities, connection.token.overwritesObjects)
      return try await connection.pool.alone { session throws(CallFailure) -> Result<AdoptedKey, KMSError> in
        let index = try KeyIndex(reading: session, provider: name)
        let foreign = try session.foreignKeys(index, joinsCopies: byCopy)
        let found = foreign.keys.first { $0.id == request.id.bytes }
        let changes = restricting ? found?.restrictions(to: request.purpose) ?? [] : []
        let candidate = found?.with(changes).candidate(among: foreign.ids)
        do throws(KMSError) {
          try Adoption.check(request, candidate, taken: index.entries[request.id]?.version)
        } catch { return .failure(error) }
        if let found {
          // Before anything is taken from it: one that is refused stays as it is.
          if found.with(changes).isActive, try !session.tryOut(found.handle, request.purpose, abilities) {
            return .failure(Adoption.doesNotWork(request))
          }
          try session.restrict(found, changes, byCopy: byCopy)
        }
        try session.removeRecords(of: request.id)
        let record = try session.create(AdoptionRecord(request).record)
        guard let entry = try KeyIndex(reading: session, provider: name).entries[request.id] else {
          try session.destroy(record)
          return .failure(Adoption.doesNotWork(request))
        }
        return .success(AdoptedKey(version: entry.version, warnings: Adoption.warnings(found, candidate)))
      }.get()
    }
  }
}

private enum Adoption {
  static func check(
    _ request: NewKeyVersion, _ candidate: AdoptionCandidate?, taken: KeyVersion?
  ) throws(KMSError) {
    let key = request.key.description
    if let taken {
      throw KMSError(
        .duplicateKeyVersion, "the id \(request.id) is a version of key '\(taken.key)' already",
        advice: candidate == nil
          ? "There is nothing to adopt." : "Give the other key another CKA_ID with the vendor's tool.", key: key)
    }
    guard let candidate else {
      throw KMSError(
        .keyNotFound, "no secret key in the token has the id \(request.id)",
        advice: "'strongroom key adopt' lists those that are there.", key: key)
    }
    guard candidate.obstacles.isEmpty else {
      throw KMSError(
        .keyNotAdoptable,
        "key '\(candidate.label)' cannot be adopted: \(candidate.obstacles.map(\.problem).joined(separator: "; "))",
        advice: candidate.obstacles.first?.advice ?? "", key: key)
    }
    guard candidate.purpose == request.purpose else {
      throw KMSError(
        .keyPurposeForbids, "key '\(candidate.label)' is not for \(request.purpose.rawValue)",
        advice: "Adopt it for \(candidate.purpose?.rawValue ?? "nothing").", key: key)
    }
  }

  static func warnings(_ found: ForeignKey?, _ candidate: AdoptionCandidate?) -> [String] {
    let past = "it could both wrap and encrypt until now: what it wrapped could be read out"
    return (found?.purpose == nil ? [past] : []) + (candidate?.warnings ?? [])
  }

  static func doesNotWork(_ request: NewKeyVersion) -> KMSError {
    KMSError(
      .keyNotAdoptable, "the key \(request.id) does not give back what it wraps or encrypts",
      advice: "Make another with 'strongroom key create'.", key: request.key.description)
  }
}

extension Session {
  /// Every secret key that is none of ours, and how many keys have each id.
  ///
  /// - Parameter joinsCopies: whether copies of a key are taken for one, as `restrict` may have left them.
  fileprivate func foreignKeys(
    _ index: KeyIndex, joinsCopies: Bool
  ) throws(CallFailure) -> (keys: [ForeignKey], ids: [[UInt8]: Int]) {
    let ours = Set(index.entries.values.flatMap(\.all))
    var keys: [ForeignKey] = []
    var (ids, places): ([[UInt8]: Int], [[UInt8]: [Int]]) = ([:], [:])
    for handle in try find(KeyTemplates.allSecretKeys) {
      let key = try ForeignKey(handle, in: self)
      if joinsCopies, let copied = places[key.id]?.first(where: { keys[$0].isCopy(of: key) }) {
        keys[copied].take(key)
        continue
      }
      ids[key.id, default: 0] += 1
      guard !ours.contains(handle), !TokenRecord.isRecord(keyLabel: key.label) else { continue }
      places[key.id, default: []].append(keys.count)
      keys.append(key)
    }
    return (keys, ids)
  }

  /// - Parameter byCopy: whether a copy with all changes takes the key's place: it is never in the midst of one.
  fileprivate func restrict(
    _ key: ForeignKey, _ changes: [(flag: AttributeType, value: Bool)], byCopy: Bool
  ) throws(CallFailure) {
    guard !changes.isEmpty else { return }
    if byCopy, try replace(key.all, by: changes.map { ($0.flag, $0.value) }) { return }
    for handle in key.all {
      for change in changes { try set(change.flag, to: change.value, of: handle) }
    }
  }

  /// One use and its reverse. Whether the same came back.
  fileprivate func tryOut(
    _ key: UInt, _ purpose: KeyPurpose, _ abilities: WrapAbilities
  ) throws(CallFailure) -> Bool {
    let probe = SecretBytes.random(count: 32)
    switch purpose {
    case .wrap:
      let back = try unwrap(wrap(probe, under: key), under: key)
      return back.equals(probe)
    case .recovery: return false
    case .encrypt:
      let (plaintext, aad) = (probe.unprotectedCopy(), Array("strongroom".utf8))
      let sealed = try encrypt(plaintext.span, under: key, aad: aad, try abilities.gcmIV(on: self))
      let back = try decrypt(sealed.bytes, under: key, iv: sealed.iv, aad: aad)
      return back.equals(probe)
    }
  }
}

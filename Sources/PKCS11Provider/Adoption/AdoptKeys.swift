public import KMSCore
internal import PKCS11

extension PKCS11Provider: KeyAdopting {
  public func adoptableKeys() async throws -> [AdoptionCandidate] {
    let name = identity.name
    return try await calling("list-adoptable") { connection in
      try await connection.pool.withSession { session throws(CallFailure) in
        let foreign = try session.foreignKeys(KeyIndex(reading: session, provider: name))
        return foreign.keys.map { $0.candidate(among: foreign.ids) }
      }
    }.sorted { ($0.label, $0.id?.description ?? "") < ($1.label, $1.id?.description ?? "") }
  }

  public func adoptKey(_ request: NewKeyVersion, restricting: Bool) async throws -> AdoptedKey {
    let name = identity.name
    return try await calling("adopt-version") { connection in
      defer { connection.forgetKeys() }
      let abilities = connection.abilities
      return try await connection.pool.alone { session throws(CallFailure) -> Result<AdoptedKey, KMSError> in
        let index = try KeyIndex(reading: session, provider: name)
        let foreign = try session.foreignKeys(index)
        let found = foreign.keys.first { $0.id == request.id.bytes }
        let changes = restricting ? found?.restrictions(to: request.purpose) ?? [] : []
        let candidate = found?.with(changes).candidate(among: foreign.ids)
        do throws(KMSError) {
          try Adoption.check(request, candidate, taken: index.entries[request.id]?.version)
        } catch { return .failure(error) }
        if let found {
          for change in changes { try session.set(change.flag, to: change.value, of: found.handle) }
          if found.with(changes).isActive, try !session.tryOut(found.handle, request.purpose, abilities) {
            return .failure(Adoption.doesNotWork(request))
          }
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
  fileprivate func foreignKeys(
    _ index: KeyIndex
  ) throws(CallFailure) -> (keys: [ForeignKey], ids: [[UInt8]: Int]) {
    let ours = Set(index.entries.values.flatMap(\.all))
    var keys: [ForeignKey] = []
    var ids: [[UInt8]: Int] = [:]
    for handle in try find(KeyTemplates.allSecretKeys) {
      let key = try ForeignKey(handle, in: self)
      ids[key.id, default: 0] += 1
      if !ours.contains(handle), !TokenRecord.isRecord(keyLabel: key.label) { keys.append(key) }
    }
    return (keys, ids)
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

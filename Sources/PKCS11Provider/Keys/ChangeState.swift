internal import KMSCore
internal import PKCS11

/// How a key goes from one state to another, so that it can be cut off anywhere, and met by another process that does
/// the same.
extension Session {
  /// Restricting writes the record first, relaxing removes it last: cut off in between, the stricter state holds. The
  /// same state again does what was left undone.
  ///
  /// - Parameters:
  ///   - version: as it was when the change was found to be allowed.
  ///   - byCopy: whether the token's keys are to be replaced rather than changed.
  /// - Throws: before anything is done, a failure that means a stale handle when it is in another state by now.
  func move(_ version: KeyVersion, to state: KeyState, byCopy: Bool) throws(CallFailure) -> StateEnforcement {
    forgetCopies()
    let entry = try unchanged(version)
    // What active and deactivated look like; a recovery key that is not active has no flag left to tell its purpose.
    let needsRecord = state == .suspended || state == .compromised || (version.purpose == .recovery && !state.wraps)
    let restricts = state.strictness > version.state.strictness
    if restricts {
      let made = try create(version, state, isEnforced: true)
      for record in entry.records { try destroyIfThere(record) }
      let isEnforced = try setFlags(of: entry, state, byCopy: byCopy)
      // The flags say it all: the record was only for the time between.
      if isEnforced, !needsRecord { try destroyIfThere(made) }
      return isEnforced ? .token : .suite
    }
    let isEnforced = try setFlags(of: entry, state, byCopy: byCopy)
    if needsRecord || !isEnforced { _ = try create(version, state, isEnforced: isEnforced) }
    // Those that were there before: what another process says meanwhile stands.
    for record in entry.records { try destroyIfThere(record) }
    return isEnforced ? .token : .suite
  }

  /// The key, with copies that another change has left, as it is now that this process does nothing else: who has waited
  /// for that may find that another was first.
  ///
  /// - Throws: a failure that means a stale handle when what is allowed is to be looked up anew.
  func unchanged(_ version: KeyVersion) throws(CallFailure) -> KeyIndex.Entry {
    let now = try KeyIndex(reading: self, provider: version.provider, only: version.id)
    guard let entry = now.entries[version.id], entry.version.state == version.state else { throw .changedMeanwhile }
    return entry
  }

  private func create(
    _ version: KeyVersion, _ state: KeyState, isEnforced: Bool
  ) throws(CallFailure) -> UInt {
    try create(
      StateRecord(id: version.id, state: state, purpose: version.purpose, isEnforcedByToken: isEnforced).record)
  }

  func removeRecords(of id: KeyVersionID) throws(CallFailure) {
    for kind in [StateRecord.kind, AdoptionRecord.kind] {
      for (handle, _) in try records(kind, of: id) { try destroyIfThere(handle) }
    }
  }

  /// Whether the token took the flags, and says so when it is asked.
  private func setFlags(
    of entry: KeyIndex.Entry, _ state: KeyState, byCopy: Bool
  ) throws(CallFailure) -> Bool {
    // Who has the public key wraps, whatever the token says of the private one.
    guard entry.publicKey == nil else { return false }
    let (keys, purpose) = (entry.all, entry.version.purpose)
    let (forward, back): (AttributeType, AttributeType) =
      purpose.encrypts(by: entry.algorithm) ? (.encrypt, .decrypt) : (.wrap, .unwrap)
    let wanted = [(forward, purpose.seals(in: state)), (back, purpose.opens(in: state))]
    // No step leads back from there: the token is to refuse one by C_SetAttributeValue, whoever makes it.
    let stays: [(AttributeType, Bool)] = state.successors == [.destroyed] ? [(.modifiable, false)] : []
    if byCopy, try replace(keys, by: wanted + stays) { return true }
    for key in keys {
      do throws(CallFailure) { for (type, flag) in wanted { try set(type, to: flag, of: key) } } catch {
        guard !error.returned.endsSession, !error.returned.meansStaleHandle else { throw error }
      }
      // Whatever came of it: a key that cannot be changed may be right as it is.
      guard try attributes(of: key, [forward, back]) == wanted.map({ [$0.1 ? 1 : 0] }) else { return false }
    }
    return true
  }

  /// Puts a copy with other flags in the key's place: the key's own object is never in the middle of a change.
  ///
  /// Only what was there before the copy was made is destroyed. So of processes that do this at once, the copy of the
  /// last stays, whatever they destroy; ``KeyIndex`` takes copies for one key, in the strictest of their states.
  /// - Returns: false when the token does not copy it, or not truly; then nothing was changed.
  func replace(_ keys: [UInt], by flags: [(AttributeType, Bool)]) throws(CallFailure) -> Bool {
    let changed = flags.map(\.0)
    let identity = [
      AttributeType.id, .label, .checkValue, .sensitive, .extractable, .alwaysSensitive, .neverExtractable, .local,
    ].filter { !changed.contains($0) }
    let original = try attributes(of: keys[0], identity)
    guard original[2]?.isEmpty == false else { return false }  // nothing would show that two copies are one key
    guard let copy = try copyOfAny(keys, Template(flags.map { ($0.0, .flag($0.1)) })) else { return false }
    guard try attributes(of: copy, identity) == original,
      try attributes(of: copy, changed) == flags.map({ [$0.1 ? 1 : 0] })
    else {
      try destroy(copy)
      return false
    }
    for key in keys { try destroyIfThere(key) }
    return true
  }

  /// A copy of the first that the token copies; an earlier change may have left one that it does not.
  private func copyOfAny(_ keys: [UInt], _ template: Template) throws(CallFailure) -> UInt? {
    for key in keys {
      do throws(CallFailure) { return try copy(key, template) } catch {
        guard !error.returned.endsSession, !error.returned.meansStaleHandle else { throw error }
      }
    }
    return nil
  }
}

extension CallFailure {
  /// Another process has changed the key since it was looked up.
  static let changedMeanwhile = CallFailure(function: "C_GetAttributeValue", returned: .objectHandleInvalid)
}

internal import KMSCore

/// Copies of the KEKs that a session uses again and again, kept in the session. A token with its keys in files or flash
/// looks there at each use of one (SoftHSM 2.6.1: 25 µs); a copy is in memory.
///
/// A copy knows nothing of a later change of its key's state. So it is used for ``Session/copyLifetime``, and what came
/// of it after that is thrown away: when that time has passed since a change, nobody has the old state any more. Soon
/// after that it is destroyed: it is the key itself, and a key that was taken out of use is to be gone.
struct KEKCopies {
  struct Use {
    /// When the copy was asked for, or else the key first used.
    var since: Moment
    var count = 0
    var copy: UInt?
  }

  var uses: [UInt: Use] = [:]
  /// False once the token has refused to copy.
  var areMade = true

  /// As many uses of a key as a copy is worth.
  static let fewUses = 8
  static let mostKeys = 16
  /// After so long, copies of a session that nobody uses are destroyed.
  static let idleTime: UInt64 = 1_000_000_000

  func areIdle(_ now: Moment) -> Bool {
    uses.values.contains { $0.copy != nil && now - $0.since >= Self.idleTime }
  }
}

extension Session {
  /// How long a copy is used. Changes of state are complete when this has passed (decision 33).
  package static let copyLifetime = Duration.milliseconds(50)
  static let lifetime: UInt64 = 50_000_000
  private static let label = Template.Value.bytes(Array("strongroom-copy".utf8))

  /// Finds the copies that this process has in the token.
  package static let copies = Template([(.token, .flag(false)), (.label, label)])

  /// Runs `body` with the handle of the KEK, or of a copy of it. It must be safe to run twice.
  package func withKEK<R: ~Copyable>(
    _ kek: UInt, _ body: (UInt) throws(CallFailure) -> R
  ) throws(CallFailure) -> R {
    guard let (copy, since) = try copy(of: kek) else { return try body(kek) }
    let result: R
    do throws(CallFailure) { result = try body(copy) } catch {
      forgetCopy(of: kek)
      throw error
    }
    guard Moment.now - since < Self.lifetime else { return try body(kek) }
    return result
  }

  private func copy(of kek: UInt) throws(CallFailure) -> (handle: UInt, since: Moment)? {
    guard copies.areMade, lane?.isFast == true else { return nil }
    let now = Moment.now
    // With those of other keys, which may never be used again.
    if let use = copies.uses[kek], now - use.since >= Self.lifetime { forgetCopies(olderThan: Self.lifetime) }
    if copies.uses.count == KEKCopies.mostKeys, copies.uses[kek] == nil { forgetCopies() }
    var use = copies.uses[kek] ?? KEKCopies.Use(since: now)
    use.count += 1
    if use.copy == nil, use.count >= KEKCopies.fewUses {
      use.since = now
      do throws(CallFailure) {
        use.copy = try copy(kek, Template([(.token, .flag(false)), (.label, Self.label)]))
      } catch {
        guard !error.returned.endsSession, !error.returned.meansStaleHandle else { throw error }
        copies.areMade = false
      }
    }
    copies.uses[kek] = use
    return use.copy.map { ($0, use.since) }
  }

  /// Nanoseconds of age; without, all of them.
  package func forgetCopies(olderThan age: UInt64 = 0) {
    let now = Moment.now
    for (kek, use) in copies.uses where now - use.since >= age { forgetCopy(of: kek) }
  }

  private func forgetCopy(of kek: UInt) {
    if let copy = copies.uses.removeValue(forKey: kek)?.copy { forget(copy) }
  }
}

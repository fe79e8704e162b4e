internal import KMSCore
internal import PKCS11

extension Session {
  /// Destroys a key with all its copies, and looks that the token has none: another process may be making one, and a
  /// token may only say that it destroys.
  ///
  /// - Parameter version: as it was when its destruction was found to be allowed.
  /// - Throws: a failure that means a stale handle when it is in another state by now, before anything is done, or when
  ///   another process uses it again.
  /// - Returns: a failure with ``KMSError/Code/duplicateKeyVersion`` when another key has the id, so that it cannot be
  ///   told whether this one is gone.
  func destroy(_ version: KeyVersion) throws(CallFailure) -> Result<Void, KMSError> {
    forgetCopies()
    var handles = try unchanged(version).all
    for _ in 0..<Self.mostRounds {
      // A pair's public half first: cut off in between, the private one is found by who destroys it again.
      for handle in handles.reversed() { try destroyIfThere(handle) }
      let left: KeyIndex.Entry?
      let index = try steadyIndex(version.provider)
      do throws(KMSError) { left = try index.entry(version.id) } catch { return .failure(error) }
      guard let left else {
        try removeRecords(of: version.id)  // last: a record without a key says nothing
        return .success(())
      }
      guard left.version.state.mayBecome(.destroyed) else { throw .changedMeanwhile }
      handles = left.all
    }
    throw CallFailure("C_DestroyObject", problem: "the token says that the key is destroyed, and has it still")
  }

  private static let mostRounds = 5

  /// Read again when another process changes keys meanwhile.
  private func steadyIndex(_ provider: String) throws(CallFailure) -> KeyIndex {
    for _ in 1..<Self.mostRounds {
      do throws(CallFailure) { return try KeyIndex(reading: self, provider: provider) } catch {
        guard error.returned.meansStaleHandle else { throw error }
      }
    }
    return try KeyIndex(reading: self, provider: provider)
  }
}

internal import KMSCore
internal import PKCS11

extension Session {
  /// Destroys a key with all its copies, and looks that the token has none: another process may be making one, and a
  /// token may only say that it destroys.
  ///
  /// - Throws: a failure that means a stale handle before anything is done, when a handle names another key by now.
  /// - Returns: a failure with ``KMSError/Code/duplicateKeyVersion`` when another key has the id, so that it cannot be
  ///   told whether this one is gone.
  func destroy(_ entry: KeyIndex.Entry) throws(CallFailure) -> Result<Void, KMSError> {
    let id = entry.version.id
    var handles = entry.all
    for handle in handles {
      guard let found = try attributesIfThere(of: handle, [.id]), found != [id.bytes] else { continue }
      throw CallFailure(function: "C_GetAttributeValue", returned: .objectHandleInvalid)
    }
    for _ in 0..<Self.mostRounds {
      for handle in handles { try destroyIfThere(handle) }
      let index = try steadyIndex(entry.version.provider)
      do throws(KMSError) { handles = try index.entry(id)?.all ?? [] } catch { return .failure(error) }
      guard !handles.isEmpty else {
        try removeRecords(of: id)  // last: a record without a key says nothing
        return .success(())
      }
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

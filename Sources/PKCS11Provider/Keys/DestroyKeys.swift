internal import KMSCore
internal import PKCS11

extension Session {
  /// Destroys a key with all its copies, and looks that the token has none: another process may be making one, and a
  /// token may only say that it destroys.
  ///
  /// - Throws: a failure that means a stale handle before anything is done, when a handle names another key by now.
  func destroy(_ entry: KeyIndex.Entry) throws(CallFailure) {
    var handles = entry.all
    for handle in handles {
      guard let id = try attributesIfThere(of: handle, [.id]), id != [entry.version.id.bytes] else { continue }
      throw CallFailure(function: "C_GetAttributeValue", returned: .objectHandleInvalid)
    }
    for _ in 0..<Self.mostRounds {
      for handle in handles { try destroyIfThere(handle) }
      handles = try handlesLeft(of: entry.version)
      guard !handles.isEmpty else {
        // Last: a record without a key says nothing.
        return try removeRecords(of: entry.version.id)
      }
    }
    throw CallFailure("C_DestroyObject", problem: "the token says that the key is destroyed, and has it still")
  }

  private static let mostRounds = 5

  private func handlesLeft(of version: KeyVersion) throws(CallFailure) -> [UInt] {
    var last = CallFailure(function: "C_GetAttributeValue", returned: .objectHandleInvalid)
    for _ in 0..<Self.mostRounds {
      do throws(CallFailure) {
        let index = try KeyIndex(reading: self, provider: version.provider)
        guard index.duplicates[version.id] == nil else {
          throw CallFailure("C_FindObjects", problem: "another key has the id of the one that is being destroyed")
        }
        return index.entries[version.id]?.all ?? []
      } catch {
        guard error.returned.meansStaleHandle else { throw error }
        last = error
      }
    }
    throw last
  }
}

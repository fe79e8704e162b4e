internal import AccessLog
public import KMSCore

extension DataAtRestManager {
  /// The keys for wrapping that `source` has, and of which `target` has no active version.
  public func missingKeys(
    of source: String, in target: String, principal: String? = nil
  ) async throws -> [KeyName] {
    guard source != target else {
      throw KMSError(.invalidInput, "data cannot move from provider \(source) to itself", advice: "Name another.")
    }
    let access = Access(principal: principal)
    for name in [source, target] { _ = try providers.provider(name, access: access, key: nil) }
    let versions = try await keyVersions(principal: principal).filter { $0.purpose == .wrap }
    let there = Set(versions.filter { $0.provider == target && $0.state == .active }.map(\.key))
    return Set(versions.filter { $0.provider == source }.map(\.key)).subtracting(there)
      .sorted { $0.description < $1.description }
  }

  /// Makes, in provider `target`, each key for wrapping that only `source` has. Rewrapping with
  /// ``RewrapGoal/provider(_:leaving:)`` moves the data then.
  ///
  /// - Returns: the versions that were made.
  @discardableResult
  public func makeMissingKeys(
    of source: String, in target: String, principal: String? = nil
  ) async throws -> [KeyVersion] {
    let access = Access(principal: principal)
    var made: [KeyVersion] = []
    for name in try await missingKeys(of: source, in: target, principal: principal) {
      let newest = try await keyVersions(of: name, principal: principal).last
      let provider = try providers.provider(target, access: access, key: name, reason: "migration from \(source)")
      made.append(
        try await provider.createKeyVersion(NewKeyVersion(key: name, id: .make(after: newest?.id))))
    }
    directory.invalidate()
    return made
  }
}

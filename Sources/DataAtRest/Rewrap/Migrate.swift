internal import AccessLog
public import KMSCore

extension DataAtRestManager {
  /// Makes, in provider `target`, each key for wrapping that only `source` has. Rewrapping with
  /// ``RewrapGoal/provider(_:leaving:)`` moves the data then.
  ///
  /// - Returns: the versions that were made.
  @discardableResult
  public func makeMissingKeys(
    of source: String, in target: String, principal: String? = nil
  ) async throws -> [KeyVersion] {
    guard source != target else {
      throw KMSError(.invalidInput, "data cannot move from provider \(source) to itself", advice: "Name another.")
    }
    let access = Access(principal: principal)
    for name in [source, target] { _ = try providers.provider(name, access: access, key: nil) }
    let versions = try await keyVersions(principal: principal)
    let names = Set(versions.filter { $0.provider == source && $0.purpose == .wrap }.map(\.key))
    var made: [KeyVersion] = []
    for name in names.sorted(by: { $0.description < $1.description }) {
      let all = versions.filter { $0.key == name }
      guard !all.contains(where: { $0.provider == target && $0.state == .active && $0.purpose == .wrap }) else {
        continue
      }
      let provider = try providers.provider(target, access: access, key: name, reason: "migration from \(source)")
      let id = all.map(\.id).max().map { KeyVersionID.make(after: $0) } ?? .make()
      made.append(try await provider.createKeyVersion(NewKeyVersion(key: name, id: id)))
    }
    directory.invalidate()
    return made
  }
}

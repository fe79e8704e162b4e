internal import AccessLog
public import KMSCore

/// One provider's answer.
public struct ProviderReport: Sendable, Hashable {
  /// Which one.
  public let provider: ProviderIdentity
  /// What it says.
  public let health: ProviderHealth
  /// Whether it makes new key versions.
  public let isPrimary: Bool
}

extension DataAtRestManager {
  /// Asks every provider whether it can serve.
  public func health(principal: String? = nil) async throws -> [ProviderReport] {
    var reports: [ProviderReport] = []
    for name in providers.names {
      let provider = try providers.provider(name, access: Access(principal: principal), key: nil)
      reports.append(
        ProviderReport(
          provider: provider.identity, health: await provider.health(), isPrimary: name == providers.primaryName))
    }
    return reports
  }
}

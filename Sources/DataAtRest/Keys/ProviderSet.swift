internal import AccessLog
internal import KMSCore

/// The configured providers, each behind the access log. Undecorated ones do not get this far.
struct ProviderSet: Sendable {
  private let members: [AccessLoggedProvider]
  /// Index of the provider that makes new versions.
  private let primary: Int

  init(_ providers: [any KMSProvider], newKeysIn name: String?, reporter: any AccessReporter) throws {
    let names = providers.map(\.identity.name)
    guard !providers.isEmpty, Set(names).count == names.count else {
      throw KMSError(
        .configurationInvalid, providers.isEmpty ? "no provider is configured" : "two providers have one name",
        advice: "Give each provider a name of its own under 'providers'.")
    }
    guard let primary = name.map({ names.firstIndex(of: $0) }) ?? 0 else {
      throw KMSError(
        .configurationInvalid, "there is no provider '\(name ?? "")'",
        advice: "Configured are: \(names.joined(separator: ", ")).")
    }
    members = providers.map { AccessLoggedProvider($0, reporter: reporter) }
    self.primary = primary
  }

  var names: [String] { members.map(\.identity.name) }
  var primaryName: String { members[primary].identity.name }

  /// The named provider, every call of which is logged for `access` and `key`.
  func provider(_ name: String, access: Access, key: KeyName?, reason: String? = nil) throws -> AccessLoggedProvider {
    guard let member = members.first(where: { $0.identity.name == name }) else {
      throw KMSError(
        .configurationInvalid, "there is no provider '\(name)'",
        advice: "Configured are: \(names.joined(separator: ", ")).")
    }
    return member.accessed(by: access, key: key, reason: reason)
  }

  /// The log is sealed by a key in one of them: after their last events, and before they are closed.
  func close(sealing reporter: any AccessReporter) async {
    for member in members { await member.announceClose() }
    await reporter.seal()
    for member in members { await member.closeUnlogged() }
  }
}

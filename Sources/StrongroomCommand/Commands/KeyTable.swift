import Strongroom

/// - Parameters:
///   - current: the versions that wrap new data; nil when it was not looked which they are.
///   - oldest: `min-unwrap-version`, so that those it refuses can be told.
func print(
  _ versions: [KeyVersion], current: Set<KeyVersionID>? = nil, oldest: OldestVersion? = nil, json: Bool
) {
  if json {
    Terminal.print(
      JSONValue.array(
        versions.map { version in
          .object([
            ("key", .string(version.key.description)), ("version", .string(version.id.description)),
            ("state", .string(version.state.rawValue)),
            ("current", current.map { .bool($0.contains(version.id)) }),
            ("refused", oldest.map { .bool($0.forbids(version.id)) }),
            ("enforced_by", .string(version.enforcement.rawValue)), ("purpose", .string(version.purpose.rawValue)),
            ("created", (version.id.created?.description).map { .string($0) }), ("provider", .string(version.provider)),
          ])
        }
      ).text)
    return
  }
  Terminal.print(
    Terminal.table(
      versions.map { version in
        let notes = [
          current?.contains(version.id) == true ? "current" : nil,
          oldest?.forbids(version.id) == true ? "refused" : nil,
        ].compactMap { $0 }
        let state = version.state.rawValue + (notes.isEmpty ? "" : " (\(notes.joined(separator: ", ")))")
        return [
          version.key.description, version.id.description, state, version.enforcement.rawValue,
          version.purpose.rawValue, age(of: version), version.provider,
        ]
      }, header: ["KEY", "VERSION", "STATE", "KEPT BY", "PURPOSE", "AGE", "PROVIDER"]))
}

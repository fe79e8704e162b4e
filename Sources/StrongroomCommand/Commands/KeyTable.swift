import Strongroom

/// - Parameters:
///   - isWhole: whether all versions of each key are there, so that the current one can be told.
///   - oldest: `min-unwrap-version`, so that those it refuses can be told.
func print(_ versions: [KeyVersion], isWhole: Bool = false, oldest: OldestVersion? = nil, json: Bool) {
  let current = isWhole ? Set(Dictionary(grouping: versions, by: \.key).values.compactMap(\.current?.id)) : []
  if json {
    Terminal.print(
      JSONValue.array(
        versions.map { version in
          .object([
            ("key", .string(version.key.description)), ("version", .string(version.id.description)),
            ("state", .string(version.state.rawValue)),
            ("current", isWhole ? .bool(current.contains(version.id)) : nil),
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
          current.contains(version.id) ? "current" : nil, oldest?.forbids(version.id) == true ? "refused" : nil,
        ].compactMap { $0 }
        let state = version.state.rawValue + (notes.isEmpty ? "" : " (\(notes.joined(separator: ", ")))")
        return [
          version.key.description, version.id.description, state, version.enforcement.rawValue,
          version.purpose.rawValue, age(of: version), version.provider,
        ]
      }, header: ["KEY", "VERSION", "STATE", "KEPT BY", "PURPOSE", "AGE", "PROVIDER"]))
}

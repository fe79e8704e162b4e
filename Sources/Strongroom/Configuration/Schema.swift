/// Every setting there is. `*` stands for a provider's name.
enum Schema {
  enum Kind: Equatable { case value, list }

  private static let settings: [(path: String, kind: Kind)] = [
    ("provider", .value),
    ("providers.*.type", .value),
    ("providers.*.uri", .value),
    ("providers.*.uris", .list),
    ("providers.*.pin-source", .value),
    ("providers.*.max-sessions", .value),
    ("providers.*.deadline", .value),
    ("providers.*.init-args", .value),
    ("providers.*.wrap-algorithms", .list),
    ("providers.*.keystore", .value),
    ("providers.*.passphrase-source", .value),
    ("providers.*.pem", .value),
    ("providers.*.key", .value),
    ("data-at-rest.kms-encryption-enabled", .value),
    ("data-at-rest.kms-key-id", .value),
    ("data-at-rest.envelope-encryption-enabled", .value),
    ("data-at-rest.encryption-algorithm", .value),
    ("data-at-rest.key-rotation-interval", .value),
    ("data-at-rest.recovery-recipients", .list),
    ("data-at-rest.min-unwrap-version", .value),
    ("cache.max-age", .value),
    ("cache.max-messages", .value),
    ("cache.max-bytes", .value),
    ("cache.max-entries", .value),
    ("cache.partition", .value),
    ("shared-deks.max-age", .value),
    ("shared-deks.max-messages", .value),
    ("shared-deks.max-bytes", .value),
    ("shared-deks.max-entries", .value),
    ("metrics.file", .value),
    ("metrics.every", .value),
    ("alerts.send-to", .list),
    ("alerts.disabled", .list),
    ("alerts.repeat-after", .value),
    ("alerts.learning", .value),
    ("alerts.failed-operations.count", .value),
    ("alerts.failed-operations.percent", .value),
    ("alerts.rate.factor", .value),
    ("alerts.rate.at-least", .value),
    ("alerts.many-contexts.factor", .value),
    ("alerts.many-contexts.at-least", .value),
    ("alerts.latency.factor", .value),
    ("access-log.path", .value),
    ("access-log.rotate-at", .value),
    ("access-log.keep", .value),
    ("access-log.durability", .value),
    ("access-log.deadline", .value),
    ("access-log.require-principal", .value),
    ("access-log.rotate-after", .value),
    ("access-log.data-operations", .value),
    ("access-log.copies", .list),
    ("access-log.signing-key", .value),
    ("access-log.signing-provider", .value),
  ]

  static func leaf(_ path: String) -> Kind? {
    let generic = generalised(path)
    return settings.first { $0.path == generic }?.kind
  }

  static func isSection(_ path: String) -> Bool {
    let generic = generalised(path) + "."
    return settings.contains { $0.path.hasPrefix(generic) }
  }

  static func paths(providers: [String]) -> [String] {
    settings.flatMap { setting in
      setting.path.contains("*")
        ? providers.map { setting.path.split(separator: "*").joined(separator: $0) } : [setting.path]
    }
  }

  /// The known setting that differs least, if it differs little.
  static func nearest(to path: String) -> String? {
    let generic = generalised(path)
    let best = settings.map { ($0.path, distance(generic, $0.path)) }.min { $0.1 < $1.1 }
    guard let best, best.1 <= 4 else { return nil }
    let name = path.split(separator: ".").dropFirst().first.map(String.init) ?? ""
    return best.0.split(separator: "*", omittingEmptySubsequences: false).joined(separator: name)
  }

  private static func generalised(_ path: String) -> String {
    var parts = path.split(separator: ".", omittingEmptySubsequences: false)
    if parts.count >= 2, parts[0] == "providers" { parts[1] = "*" }
    return parts.joined(separator: ".")
  }

  // Levenshtein, two rows.
  private static func distance(_ a: String, _ b: String) -> Int {
    let b = Array(b)
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var next = [i + 1]
      for (j, y) in b.enumerated() { next.append(min(next[j] + 1, row[j + 1] + 1, row[j] + (x == y ? 0 : 1))) }
      row = next
    }
    return row[b.count]
  }
}

extension Duration {
  /// Reads `90s`, `30m`, `24h`, `7d`; nil for anything else.
  public init?(unitText text: String) {
    guard let duration = Units.duration(text) else { return nil }
    self = duration
  }
}

/// Durations and sizes as people write them.
enum Units {
  /// Up to some 30,000 years: what is longer overflows somewhere.
  static func duration(_ text: String) -> Duration? {
    scaled(text, ["s": 1, "m": 60, "h": 3600, "d": 86_400], plain: 1).flatMap { $0 <= 1 << 40 ? .seconds($0) : nil }
  }

  static func bytes(_ text: String) -> Int? {
    scaled(text, ["KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "B": 1], plain: 1)
  }

  private static func scaled(_ text: String, _ units: [String: Int], plain: Int) -> Int? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let unit = text.dropFirst(digits.count).trimmed
    guard let number = Int(digits), let factor = unit.isEmpty ? plain : units[unit] else { return nil }
    let (result, overflow) = number.multipliedReportingOverflow(by: factor)
    return overflow ? nil : result
  }
}

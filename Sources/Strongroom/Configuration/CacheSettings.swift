internal import DataAtRest
internal import KMSCore

extension CacheLimits {
  /// What the section `cache` says; nil where it says nothing, or `max-age: 0`: then nothing is cached.
  init?(_ settings: Settings) throws {
    let isThere = settings.hasSettings(under: "cache")
    let maxAge = try settings.duration("cache.max-age") ?? .seconds(300)
    let maxMessages = try settings.count("cache.max-messages") ?? 1 << 24
    let maxBytes = try settings.bytes("cache.max-bytes") ?? CacheLimits.mostBytes
    let maxEntries = try settings.count("cache.max-entries") ?? 1000
    let partition = try settings.converted("cache.partition", "key or context") { Partition(rawValue: $0) } ?? .key
    guard isThere, maxAge != .zero else { return nil }
    try self.init(
      maxAge: maxAge, maxMessages: maxMessages, maxBytes: maxBytes, maxEntries: maxEntries, partition: partition)
  }

  /// What the section `shared-deks` says.
  init(sharedDEKs settings: Settings) throws {
    try self.init(
      section: "shared-deks", maxAge: settings.duration("shared-deks.max-age") ?? .seconds(3600),
      maxMessages: settings.count("shared-deks.max-messages") ?? 1 << 24,
      maxBytes: settings.bytes("shared-deks.max-bytes") ?? CacheLimits.mostBytes,
      maxEntries: settings.count("shared-deks.max-entries") ?? 1000)
  }
}

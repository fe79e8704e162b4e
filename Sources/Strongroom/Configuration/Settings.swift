internal import KMSCore
internal import Yams

/// A configuration file as a flat table, `data-at-rest.kms-key-id` -> text and line, with the environment's
/// overrides laid over it. Every path must be one that the suite knows.
struct Settings {
  struct Entry {
    let values: [String]
    let isList: Bool
    /// `strongroom.yaml:12` or `STRONGROOM_…`.
    let origin: String
  }

  private(set) var entries: [String: Entry] = [:]
  /// Sections with nothing in them, and where they stand.
  private var emptySections: [String: String] = [:]

  /// - Parameters:
  ///   - yaml: the file's text; empty for none.
  ///   - file: its name, for errors.
  ///   - environment: `STRONGROOM_DATA_AT_REST_KMS_KEY_ID=…` overrides `data-at-rest.kms-key-id`.
  init(yaml: String, file: String, environment: [String: String]) throws {
    let root: Node?
    // Everything is text here: what other resolvers tell apart by regular expressions takes 2 ms to compile.
    do { root = try Yams.compose(yaml: yaml, .basic) } catch {
      throw KMSError(
        .configurationInvalid, "\(file) is not YAML: \(Self.oneLine("\(error)"))", advice: "Mend that line.")
    }
    if let root, !(root.scalar?.string.isEmpty ?? false) { try add(root, path: [], file: file) }
    for (path, entry) in entries where Schema.leaf(path) == nil { throw Self.unknown(path, entry.origin) }
    for (path, origin) in emptySections where !Schema.isSection(path) { throw Self.unknown(path, origin) }
    try override(from: environment)
    if let origin = emptySections["cache"], !hasSettings(under: "cache") {
      throw KMSError(
        .configurationInvalid, "\(origin): cache: the section is empty, and the cache is off unless it is there",
        advice: "Say how long content keys are kept, such as 'max-age: 5m', or leave the section out.")
    }
    for (path, entry) in entries where entry.values.contains(where: Self.namesHome) {
      throw Self.invalid(path, entry, "'~' stands for no folder here", "Write the path out.")
    }
  }

  /// Names under `providers`, sorted.
  var providerNames: [String] {
    let paths = Array(entries.keys) + Array(emptySections.keys)
    return Set(paths.filter { $0.hasPrefix("providers.") }.map { String($0.split(separator: ".")[1]) }).sorted()
  }

  /// Whether a section says anything.
  func hasSettings(under section: String) -> Bool { entries.keys.contains { $0.hasPrefix(section + ".") } }

  func text(_ path: String) throws -> String? {
    guard let entry = entries[path] else { return nil }
    guard !entry.isList, let value = entry.values.first else {
      throw Self.invalid(path, entry, "is a list", "Give one value.")
    }
    return value
  }

  func list(_ path: String) -> [String]? { entries[path]?.values }

  func flag(_ path: String) throws -> Bool? { try converted(path, "true or false") { Bool($0) } }

  func duration(_ path: String) throws -> Duration? {
    try converted(path, "a number with s, m, h or d, such as 90s or 24h") { Units.duration($0) }
  }

  func bytes(_ path: String) throws -> Int? {
    try converted(path, "a number with KiB, MiB or GiB, such as 100MiB") { Units.bytes($0) }
  }

  func count(_ path: String) throws -> Int? { try converted(path, "a whole number") { Int($0) } }

  func converted<T>(_ path: String, _ allowed: String, _ convert: (String) -> T?) throws -> T? {
    guard let value = try text(path) else { return nil }
    guard let result = convert(value) else {
      throw Self.invalid(path, entries[path], "'\(value.prefix(60))' is not allowed", "Allowed is \(allowed).")
    }
    return result
  }

  /// Puts the place of the setting into an error that a value itself raised.
  func placed(_ error: KMSError) -> KMSError {
    guard let path = error.message.split(separator: ":").first.map(String.init), let entry = entries[path] else {
      return error
    }
    return KMSError(error.code, "\(entry.origin): \(error.message)", advice: error.advice)
  }

  private mutating func add(_ node: Node, path: [String], file: String) throws {
    let place = "\(file):\(node.mark?.line ?? 1)"
    switch node {
    case .mapping(let mapping):
      for (key, value) in mapping {
        guard let name = key.string else {
          throw KMSError(.configurationInvalid, "\(place): a key is not text", advice: "Quote it.")
        }
        try add(value, path: path + [name], file: file)
      }
      if mapping.isEmpty, !path.isEmpty { emptySections[path.joined(separator: ".")] = place }
    case .sequence(let sequence):
      let values = try sequence.map { item in
        guard case .scalar(let scalar) = item else {
          throw KMSError(
            .configurationInvalid,
            "\(file):\(item.mark?.line ?? 1): \(path.joined(separator: ".")): an item of the list is not plain text",
            advice: "Write each item as one text, such as '- name'.")
        }
        return scalar.string
      }
      entries[path.joined(separator: ".")] = Entry(values: values, isList: true, origin: place)
    case .scalar(let scalar):
      guard !path.isEmpty else {
        throw KMSError(
          .configurationInvalid, "\(place) holds no settings", advice: "See docs/configuration.md for an example.")
      }
      let name = path.joined(separator: ".")
      if Schema.isSection(name), scalar.string.isEmpty {
        emptySections[name] = place
      } else {
        entries[name] = Entry(values: [scalar.string], isList: false, origin: place)
      }
    case .alias:
      throw KMSError(.configurationInvalid, "\(place): YAML aliases are not read", advice: "Write it out.")
    }
  }

  private mutating func override(from environment: [String: String]) throws {
    for path in Schema.paths(providers: providerNames) {
      let name = "STRONGROOM_" + path.uppercased().map { $0 == "." || $0 == "-" ? "_" : String($0) }.joined()
      guard let value = environment[name] else { continue }
      let isList = Schema.leaf(path) == .list
      let values = isList ? value.split(separator: ",").map { $0.trimmed } : [value]
      entries[path] = Entry(values: values, isList: isList, origin: name)
    }
  }

  // A shell's abbreviation: taken as it stands, it would make a folder of that name.
  private static func namesHome(_ value: String) -> Bool {
    ["", "file:", "command:"].contains { value.hasPrefix($0 + "~/") } || value == "~"
  }

  private static func invalid(_ path: String, _ entry: Entry?, _ problem: String, _ advice: String) -> KMSError {
    KMSError(.configurationInvalid, "\(entry?.origin ?? "configuration"): \(path): \(problem)", advice: advice)
  }

  private static func unknown(_ path: String, _ origin: String) -> KMSError {
    let near = Schema.nearest(to: path).map { "Did you mean '\($0)'? " } ?? ""
    return KMSError(
      .configurationInvalid, "\(origin): there is no setting '\(path)'",
      advice: near + "docs/configuration.md lists them all.")
  }

  private static func oneLine(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).map { $0.trimmed }.joined(separator: " ")
  }
}

extension StringProtocol {
  var trimmed: String {
    String(drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
  }
}

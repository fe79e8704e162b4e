public import AccessLog
public import DataAtRest
internal import DurableFiles
public import KMSCore
public import SystemPackage

/// Everything that a configuration file says, checked.
public struct SuiteConfiguration: Sendable {
  /// Where it came from: a path, or "built-in defaults".
  public let origin: String
  /// Name of the provider that makes new key versions.
  public let provider: String
  /// All that may hold keys.
  public let providers: [ProviderSettings]
  /// How data is encrypted.
  public let dataAtRest: DataAtRestConfig
  /// Where and how the log is kept.
  public let accessLog: AccessLogSettings
  /// Whether data operations that went well are summed up, one record a second, instead of logged each.
  public let summarisesDataOperations: Bool
  /// Which key signs the log's checkpoints; nil: none, and then nobody sees that the log was changed.
  public let logSigning: LogSigningSettings?
  /// Metrics and alerts.
  public let telemetry: TelemetrySettings

  /// Reads the first that there is: `file`, `STRONGROOM_CONFIG`, `./strongroom.yaml`,
  /// `~/.config/strongroom/strongroom.yaml`, the built-in defaults.
  ///
  /// - Throws: ``KMSError/Code/configurationInvalid`` with file and line.
  public static func load(
    file: FilePath? = nil, environment: [String: String] = ProcessEnvironment.all
  ) throws -> SuiteConfiguration {
    let places = Places(environment: environment)
    let found = try find(file, places)
    return try SuiteConfiguration(
      settings: Settings(yaml: found.yaml, file: found.origin, environment: environment), folder: found.folder,
      places: places, origin: found.origin)
  }

  /// The access log's settings alone: for what must go on when the providers' settings are gone or wrong.
  ///
  /// - Throws: ``KMSError/Code/configurationInvalid`` with file and line.
  public static func loadAccessLog(
    file: FilePath? = nil, environment: [String: String] = ProcessEnvironment.all
  ) throws -> AccessLogSettings {
    let found = try find(file, Places(environment: environment))
    let settings = try Settings(yaml: found.yaml, file: found.origin, environment: environment)
    do {
      var log = try accessLog(settings, folder: found.folder)
      if try settings.text("access-log.signing-key") != nil { log.directory.append(unsignedLogFolder) }
      return log
    } catch let error as KMSError {
      throw settings.placed(error)
    }
  }

  /// Below the folder of a log that a key signs: what is logged while no provider is open. Among signed files it would look
  /// as if somebody had put it there.
  public static let unsignedLogFolder = "unsigned"

  private static func find(
    _ file: FilePath?, _ places: Places
  ) throws -> (yaml: String, origin: String, folder: FilePath) {
    guard let path = try file ?? places.configurationFile() else {
      return (places.builtIn, "built-in defaults", places.dataFolder)
    }
    let bytes: [UInt8]
    do { bytes = try readFile(path, limit: 1 << 20) } catch let error as KMSError {
      throw KMSError(
        .configurationInvalid, "the configuration cannot be read: \(error.message)",
        advice: "Make one with 'strongroom init', or name another with --config.")
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw KMSError(.configurationInvalid, "\(path) is not UTF-8 text", advice: "Name a YAML file.")
    }
    return (text, path.string, path.removingLastComponent())
  }

  /// What a file with this text in `folder` says.
  package init(yaml: String, folder: FilePath, environment: [String: String]) throws {
    let origin = "strongroom.yaml"
    try self.init(
      settings: Settings(yaml: yaml, file: origin, environment: environment), folder: folder,
      places: Places(environment: environment), origin: origin)
  }

  /// The same, with other values where arguments are given.
  public func with(provider: String) throws -> SuiteConfiguration {
    try SuiteConfiguration(
      origin: origin, provider: provider, providers: providers, dataAtRest: dataAtRest, accessLog: accessLog,
      logSigning: logSigning, summarisesDataOperations: summarisesDataOperations, telemetry: telemetry)
  }

  /// The same with another log and other settings for data.
  package func with(accessLog: AccessLogSettings, dataAtRest: DataAtRestConfig) throws -> SuiteConfiguration {
    try SuiteConfiguration(
      origin: origin, provider: provider, providers: providers, dataAtRest: dataAtRest, accessLog: accessLog,
      logSigning: logSigning, summarisesDataOperations: summarisesDataOperations, telemetry: telemetry)
  }

  private init(
    origin: String, provider: String, providers: [ProviderSettings], dataAtRest: DataAtRestConfig,
    accessLog: AccessLogSettings, logSigning: LogSigningSettings?,
    summarisesDataOperations: Bool, telemetry: TelemetrySettings
  ) throws {
    guard providers.contains(where: { $0.name == provider }) else {
      throw KMSError(
        .configurationInvalid, "\(origin): provider: there is no '\(provider)' under 'providers'",
        advice: "Configured are: \(providers.map(\.name).joined(separator: ", ")).")
    }
    self.origin = origin
    self.provider = provider
    self.providers = providers
    self.dataAtRest = dataAtRest
    self.accessLog = accessLog
    self.logSigning = logSigning
    self.summarisesDataOperations = summarisesDataOperations
    self.telemetry = telemetry
  }

  init(settings: Settings, folder: FilePath, places: Places, origin: String) throws {
    let providers = try settings.providerNames.map {
      try ProviderSettings(name: $0, settings: settings, folder: folder, environment: places.environment)
    }
    guard !providers.isEmpty else {
      throw KMSError(
        .configurationInvalid, "\(origin): no provider is configured",
        advice: "Add one under 'providers'; docs/configuration.md has examples.")
    }
    let only = providers.count == 1 ? providers.first?.name : nil
    guard let provider = try settings.text("provider") ?? only else {
      throw KMSError(
        .configurationInvalid, "\(origin): 'provider' is missing",
        advice: "Say which makes new keys: \(providers.map(\.name).joined(separator: ", ")).")
    }
    do {
      let dataAtRest = try DataAtRestConfig(
        kmsEncryptionEnabled: settings.flag("data-at-rest.kms-encryption-enabled") ?? true,
        kmsKeyID: settings.text("data-at-rest.kms-key-id") ?? "default",
        envelopeEncryptionEnabled: settings.flag("data-at-rest.envelope-encryption-enabled") ?? true,
        keyRotationInterval: settings.duration("data-at-rest.key-rotation-interval") ?? .seconds(86_400),
        encryptionAlgorithm: settings.text("data-at-rest.encryption-algorithm") ?? "AES-256-GCM",
        recoveryRecipients: settings.list("data-at-rest.recovery-recipients") ?? [],
        minUnwrapVersion: settings.text("data-at-rest.min-unwrap-version"), cache: CacheLimits(settings),
        sharedDEKs: CacheLimits(sharedDEKs: settings))
      try self.init(
        origin: origin, provider: provider, providers: providers, dataAtRest: dataAtRest,
        accessLog: Self.accessLog(settings, folder: folder),
        logSigning: Self.logSigning(settings, providers.map(\.name), provider),
        summarisesDataOperations: settings.converted("access-log.data-operations", "each or summary") {
          ["each": false, "summary": true][$0]
        } ?? false,
        telemetry: TelemetrySettings(settings, folder: folder, rotationInterval: dataAtRest.keyRotationInterval))
    } catch let error as KMSError {
      throw settings.placed(error)
    }
  }

  private static func accessLog(_ settings: Settings, folder: FilePath) throws -> AccessLogSettings {
    var log = try AccessLogSettings(
      directory: folder.pushing(FilePath(settings.text("access-log.path") ?? "log")),
      rotateAt: settings.bytes("access-log.rotate-at") ?? 100 << 20,
      keep: settings.duration("access-log.keep") ?? .seconds(365 * 86_400),
      durability: settings.converted("access-log.durability", "written or synced") {
        ["written": .written, "synced": .synced][$0]
      } ?? .written,
      deadline: settings.duration("access-log.deadline") ?? .seconds(2))
    log.rotateAfter = try settings.duration("access-log.rotate-after") ?? .seconds(86_400)
    log.copies = try (settings.list("access-log.copies") ?? []).map { try LogCopyTarget(parsing: $0) }
    log.requiresPrincipal = try settings.flag("access-log.require-principal") ?? false
    return log
  }

  private static func logSigning(
    _ settings: Settings, _ providers: [String], _ primary: String
  ) throws -> LogSigningSettings? {
    guard let name = try settings.text("access-log.signing-key") else { return nil }
    guard KeyName.isValid(name) else {
      throw KMSError(
        .configurationInvalid, "access-log.signing-key: '\(name.prefix(80))' is not a key name",
        advice: "Name the key by 1 to 64 of a-z, 0-9, '.', '_' and '-', such as access-log.")
    }
    let provider = try settings.text("access-log.signing-provider") ?? primary
    guard providers.contains(provider) else {
      throw KMSError(
        .configurationInvalid, "access-log.signing-provider: there is no '\(provider)' under 'providers'",
        advice: "Configured are: \(providers.joined(separator: ", ")).")
    }
    return LogSigningSettings(key: try KeyName(name), provider: provider)
  }
}

/// Which key signs the access log.
public struct LogSigningSettings: Sendable, Hashable {
  /// Name of the signing key.
  public let key: KeyName
  /// Configured name of the provider that holds it.
  public let provider: String
}

internal import AccessLog
internal import CryptoPrimitives
public import KMSCore
public import SystemPackage
internal import Telemetry

/// Encrypts and decrypts an application's data under keys that stay in a provider, and manages those keys.
///
/// It puts every provider behind the access log itself: no call reaches a provider without an event, and no
/// result is given out before its event was taken.
///
/// Safe to use from any number of tasks. One manager serves a process.
public final class DataAtRestManager: Sendable {
  let providers: ProviderSet
  let directory: KeyDirectory
  let reporter: any AccessReporter
  /// Folder of the access log, for the report; nil when the log goes elsewhere.
  let logFolder: FilePath?
  /// Content keys that are kept, where the configuration says so.
  let dataKeys: DataKeys
  let rotationMemory = RotationMemory()
  let tracers = TracerWatch()
  /// The log, if it sums data operations up.
  let counter: OperationCounts?
  /// Where shared DEKs are kept.
  let dekStore: (any DEKStore)?
  private let config: Striped<DataAtRestConfig>

  /// - Parameters:
  ///   - providers: all that may hold keys. Each needs a name of its own.
  ///   - newKeysIn: name of the one that makes new key versions; the first when nil.
  ///   - reporter: the access log.
  ///   - logFolder: where ``generateTelemetryReport(since:)`` reads.
  ///   - dekStore: where DEKs are kept that fields share; nil: they cannot share any.
  /// - Throws: ``KMSError/Code/configurationInvalid``.
  public convenience init(
    providers: [any KMSProvider], newKeysIn: String? = nil, configuration: DataAtRestConfig,
    reporter: any AccessReporter, logFolder: FilePath? = nil, dekStore: (any DEKStore)? = nil
  ) throws {
    try self.init(
      providers: providers, newKeysIn: newKeysIn, configuration: configuration, reporter: reporter,
      logFolder: logFolder, dekStore: dekStore, dataKeys: DataKeys())
  }

  init(
    providers: [any KMSProvider], newKeysIn: String? = nil, configuration: DataAtRestConfig,
    reporter: any AccessReporter, logFolder: FilePath? = nil, dekStore: (any DEKStore)? = nil, dataKeys: DataKeys
  ) throws {
    self.providers = try ProviderSet(providers, newKeysIn: newKeysIn, reporter: reporter)
    self.dataKeys = dataKeys
    directory = KeyDirectory(self.providers) { dataKeys.forget() }
    self.reporter = reporter
    self.logFolder = logFolder
    self.dekStore = dekStore
    counter = (reporter as? SummarisingReporter)?.counts
    config = Striped { configuration }
  }

  /// The configuration in force.
  public var configuration: DataAtRestConfig { config.withLock { $0 } }

  /// A part of it, without a copy of the whole.
  func withConfiguration<Part>(_ body: (borrowing DataAtRestConfig) -> sending Part) -> sending Part {
    config.withLock { body($0) }
  }

  /// Puts another configuration in force, for every call that begins after this one returns. It is logged.
  public func updateConfiguration(_ new: DataAtRestConfig, principal: String? = nil) async throws {
    var access = Access(principal: principal)
    access.fillIn()
    try await reporter.report(AccessEvent(.updateConfiguration, phase: .intent, key: new.kmsKeyID, access: access))
    try await logged(.updateConfiguration, access) { event in
      event.key = new.kmsKeyID
      config.withEachLock { $0 = new }
      directory.invalidate()
    }
  }

  /// Forgets content keys, closes the providers, and seals the access log. Idempotent.
  public func close() async {
    dataKeys.forget()
    await providers.close(sealing: reporter)
  }

  /// The configuration, if it allows encryption at all.
  func enabledConfiguration() throws -> DataAtRestConfig {
    let config = configuration
    guard config.kmsEncryptionEnabled else {
      throw KMSError(
        .encryptionDisabled, "encryption is switched off, so nothing was encrypted, decrypted or passed through",
        advice: "Set data-at-rest.kms-encryption-enabled to true.")
    }
    return config
  }
}

extension AccessEvent.Operation {
  static let updateConfiguration = Self(rawValue: "update-configuration")
}

extension KMSError.Code {
  static let cancelled = Self(rawValue: "cancelled")
}

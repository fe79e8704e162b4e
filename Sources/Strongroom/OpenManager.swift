@_exported public import AccessLog
@_exported public import DataAtRest
@_exported public import Envelope
internal import InMemoryProvider
@_exported public import KMSCore
internal import PublicKeyProvider
@_exported public import Telemetry

#if OpenSSL
  internal import OpenSSLProvider
#endif
#if PKCS11
  internal import PKCS11Provider
#endif

extension DataAtRestManager {
  /// A manager as the configuration says, with its access log, metrics and alerts. Nothing is opened before it is
  /// needed.
  ///
  /// - Parameters:
  ///   - attended: a person waits for this process and sees its errors, as with a command: it writes no metrics file,
  ///     and no alerts to standard error. Metrics that the process has bootstrapped before are counted either way.
  ///   - dekStore: where DEKs are kept that fields share; nil: they cannot share any.
  public static func open(
    _ configuration: SuiteConfiguration, attended: Bool = false, dekStore: (any DEKStore)? = nil
  ) throws -> DataAtRestManager {
    try open(
      configuration, attended: attended, dekStore: dekStore,
      providers: configuration.providers.map { try $0.makeProvider() })
  }

  /// The same with providers that somebody has made from the configuration.
  package static func open(
    _ configuration: SuiteConfiguration, attended: Bool, dekStore: (any DEKStore)? = nil, providers: [any KMSProvider]
  ) throws -> DataAtRestManager {
    let telemetry = try ManagerTelemetry(configuration, attended: attended)
    let signer = configuration.logSigning.flatMap { signing in
      providers.first { $0.identity.name == signing.provider }.map { LogSigner($0, key: signing.key) }
    }
    let log = try AccessLogFile(configuration.accessLog, signer: signer) { [observers = telemetry.observers] event in
      for observer in observers { observer.took(event, afterNanoseconds: 0) }
    }
    // Observers cost more than a field; where fields are summed up, they see the sums.
    let observed = ObservedReporter(log, observers: telemetry.observers)
    let reporter: any AccessReporter =
      configuration.summarisesDataOperations ? SummarisingReporter(observed) : observed
    let manager = try DataAtRestManager(
      providers: providers, newKeysIn: configuration.provider, configuration: configuration.dataAtRest,
      reporter: reporter, logFolder: configuration.accessLog.directory, dekStore: dekStore)
    telemetry.watch(manager)
    return manager
  }
}

extension ProviderSettings {
  /// The provider itself, not opened yet.
  public func makeProvider() throws -> any KMSProvider {
    switch kind {
    case .memory: return InMemoryProvider(name: name)
    case .publicKey(let pem, let key): return PublicKeyProvider(name: name, key: key, pem: pem)
    case .openSSL(let keystore, let passphrase):
      #if OpenSSL
        return OpenSSLProvider(OpenSSLConfiguration(name: name, keystore: keystore, passphrase: passphrase))
      #else
        throw missing("OpenSSL")
      #endif
    case .pkcs11(let token):
      #if PKCS11
        let uris = try token.uris.map { try PKCS11URI(parsing: $0) }
        guard let pin = try token.pin ?? uris.lazy.compactMap(\.pinSource).first.map({ try source($0) }) else {
          throw KMSError(
            .configurationInvalid, "providers.\(name): the PIN's source is missing",
            advice: "Add pin-source: file:/run/secrets/pin, env:VARIABLE, credential:NAME, command:PROGRAM or prompt:.")
        }
        return PKCS11Provider(
          PKCS11Configuration(
            name: name, tokens: uris, pin: pin, maxSessions: token.maxSessions, deadline: token.deadline,
            wrapAlgorithms: token.wrapAlgorithms, initArguments: token.initArguments))
      #else
        throw missing("PKCS11")
      #endif
    }
  }

  private func missing(_ trait: String) -> KMSError {
    KMSError(
      .configurationInvalid, "providers.\(name): this build has no such provider",
      advice: "Build it with the package trait \(trait).")
  }
}

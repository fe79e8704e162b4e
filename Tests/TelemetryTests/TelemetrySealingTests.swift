import AccessLog
import Foundation
import InMemoryProvider
import Strongroom
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// The log ends when nobody asks a provider any more: what came after would be a log that nobody ends.
@Suite(.timeLimit(.minutes(5))) struct TelemetrySealingTests {
  /// Its health is told once the gate is open.
  private final class SlowProvider: KMSProvider, Signing {
    let base = InMemoryProvider(name: "slow")
    private let state = Mutex((asked: false, isOpen: false))
    var identity: ProviderIdentity { base.identity }
    var wasAsked: Bool { state.withLock { $0.asked } }
    func open() { state.withLock { $0.isOpen = true } }

    func health() async -> ProviderHealth {
      state.withLock { $0.asked = true }
      // By turns, as the task that waits is cancelled.
      for _ in 0..<60_000 where !state.withLock({ $0.isOpen }) {
        await withCheckedContinuation { continuation in
          DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(1)) { continuation.resume() }
        }
      }
      return await base.health()
    }

    func keyVersions(of name: KeyName?) async throws -> [KeyVersion] { try await base.keyVersions(of: name) }
    func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
      try await base.createKeyVersion(request)
    }
    func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
      try await base.setState(state, of: id)
    }
    func wrap(_ key: borrowing SecretBytes, under id: KeyVersionID, aad: [UInt8]) async throws -> WrappedKey {
      try await base.wrap(key, under: id, aad: aad)
    }
    func unwrap(_ wrapped: WrappedKey, under id: KeyVersionID, aad: [UInt8]) async throws -> SecretBytes {
      try await base.unwrap(wrapped, under: id, aad: aad)
    }
    func close() async { await base.close() }
    func signingKey(named name: KeyName) async throws -> SigningKey? { try await base.signingKey(named: name) }
    func createSigningKey(named name: KeyName) async throws -> SigningKey {
      try await base.createSigningKey(named: name)
    }
    func sign(_ message: [UInt8], with id: KeyVersionID) async throws -> [UInt8] {
      try await base.sign(message, with: id)
    }
  }

  @Test func anAnswerThatComesWhileTheManagerIsClosedIsInTheLog() async throws {
    let folder = TemporaryFolder()
    let file = folder.path + "/strongroom.yaml"
    try """
    providers: { slow: { type: memory } }
    access-log: { path: ./log, signing-key: access-log }
    metrics: { file: strongroom.prom, every: 1h }
    alerts: { send-to: [] }
    """.write(toFile: file, atomically: true, encoding: .utf8)
    let provider = SlowProvider()
    let configuration = try SuiteConfiguration.load(file: FilePath(file), environment: [:])
    let key = LogVerifierKey(try await provider.createSigningKey(named: KeyName("access-log")))
    let manager = try DataAtRestManager.open(configuration, attended: false, providers: [provider])
    for _ in 0..<6000 where !provider.wasAsked { try await Task.sleep(for: .milliseconds(10)) }
    let closing = Task { await manager.close() }
    // Long enough that a log which did not wait would have ended.
    try await Task.sleep(for: .milliseconds(300))
    provider.open()
    await closing.value

    let log = configuration.accessLog.directory
    var operations: [AccessEvent.Operation] = []
    try AccessLogReader(directory: log).forEach(matching: AccessFilter()) { record, _ in
      operations.append(record.operation)
    }
    #expect(operations.contains(.health))
    // Later than that, no log counts as one that is written still.
    let later = Timestamp.now().advanced(by: .seconds(7200))
    let verification = try LogVerifier(directory: log, keys: [key], now: later, patience: .seconds(3600)).verify()
    #expect(verification.findings.isEmpty, "\(verification.findings)")
  }
}

import Foundation
import OpenSSLProvider
import Strongroom
import SystemPackage
import TestSupport
import Testing

/// A token or key store with a key `k`, and the values that were encrypted under it, whoever did: all must open,
/// whatever happened to the processes that rotate it.
final class Store {
  enum Kind: String, CaseIterable, CustomTestStringConvertible {
    case pkcs11, openssl
    var testDescription: String { rawValue }
  }

  let kind: Kind
  let folder = TemporaryFolder()
  private let token: SoftHSM.Token?
  private(set) var sealed: [(value: [UInt8], text: String)] = []

  /// Cancels the test where the token's module is not installed.
  static func make(_ kind: Kind) throws -> Store {
    if kind == .pkcs11, !SoftHSM.isInstalled { try Test.cancel("SoftHSM is not installed") }
    return Store(kind, token: kind == .pkcs11 ? try SoftHSM.makeToken() : nil)
  }

  private init(_ kind: Kind, token: SoftHSM.Token?) {
    self.kind = kind
    self.token = token
  }

  var log: FilePath { FilePath(folder.path + "/log") }
  private var place: String { token?.uri ?? folder.path + "/keys.p12" }
  private var pin: String { token?.pin ?? "passphrase" }

  /// The arguments and environment of a probe on this store.
  func probe(_ arguments: [String]) -> (arguments: [String], environment: [String: String]) {
    ([kind.rawValue, place, log.string] + arguments, ["PIN": pin])
  }

  static var probe: String { builtProducts + "/RotationProbe" }

  func run(_ arguments: String...) async throws -> ProcessResult {
    let (arguments, environment) = probe(arguments)
    return try await runProcess(Self.probe, arguments, environment: environment)
  }

  /// A manager as a new process would have it.
  func withManager<Result>(_ body: (DataAtRestManager) async throws -> Result) async throws -> Result {
    let provider: any KMSProvider =
      try token?.provider(name: "store")
      ?? OpenSSLProvider(OpenSSLConfiguration(name: "store", keystore: place, passphrase: secret(pin)))
    let manager = try DataAtRestManager(
      providers: [provider], configuration: DataAtRestConfig(kmsKeyID: "k"),
      reporter: AccessLogFile(AccessLogSettings(directory: log)), logFolder: log)
    defer { Task { await manager.close() } }
    return try await body(manager)
  }

  func note(_ value: [UInt8], _ text: String) { sealed.append((value, text)) }

  func encrypt(_ text: String, with manager: DataAtRestManager) async throws {
    sealed.append((try await manager.encrypt(text), text))
  }

  func expectAllOpen(with manager: DataAtRestManager, _ when: String) async throws {
    for (value, text) in sealed {
      #expect(try await manager.decryptString(value) == text, "\(when)")
    }
  }

  /// A new process finds everything readable, can encrypt, and brings the key to one active version.
  func expectRecovery(after when: String) async throws {
    try await withManager { manager in
      try await expectAllOpen(with: manager, when)
      try await encrypt("after \(when)", with: manager)
      let results = try await manager.rotateDue()
      #expect(results.count == 1 && results[0].error == nil, "\(when): \(results)")
      let active = try await manager.keyVersions(of: KeyName("k")).filter { $0.state == .active }
      #expect(active.count == 1, "\(when): \(active)")
      try await encrypt("later \(when)", with: manager)
      try await expectAllOpen(with: manager, when)
    }
  }
}

import Foundation
import KMSCore
public import PKCS11Provider
import Synchronization

/// The module of Fixtures/faulty-module in front of a SoftHSM of its own, and a token that no other test has. Neither
/// its faults nor its sessions touch another test. Its README says what `control` understands.
public final class FaultyModule: Sendable {
  public let token: SoftHSM.Token
  /// The library's path.
  public let path: String
  private let folder = TemporaryFolder()

  /// - Parameters:
  ///   - faults: lines of the control file.
  ///   - module: the real module's path, without it SoftHSM's, of which a copy is made: a copy is an HSM of its own within one process.
  ///   - token: one that exists; without, a new one.
  public init(_ faults: String..., module: String? = nil, token: SoftHSM.Token? = nil) throws {
    self.token = try token ?? SoftHSM.makeToken()
    path = folder.path + "/faulty.so"
    try FileManager.default.copyItem(atPath: Self.library.get(), toPath: path)
    try FileManager.default.copyItem(
      atPath: URL(fileURLWithPath: module ?? self.token.module).resolvingSymlinksInPath().path,
      toPath: folder.path + "/real.so")
    try control(faults)
    keepIfSanitized(path)
  }

  public var uri: String { "pkcs11:token=\(token.label)?module-path=\(path)" }

  /// Replaces all faults, also while calls are under way. The counts of calls begin anew.
  public func control(_ faults: String...) throws { try control(faults) }

  private func control(_ faults: [String]) throws {
    let text = (["real \(folder.path)/real.so", "trace \(folder.path)/trace"] + faults).joined(separator: "\n") + "\n"
    try Data(text.utf8).write(to: URL(fileURLWithPath: path + ".conf"), options: .atomic)
  }

  /// The calls so far, for example `C_WrapKey CKR_OK`.
  public var trace: [String] {
    guard let text = try? String(contentsOfFile: folder.path + "/trace", encoding: .utf8) else { return [] }
    return text.split(separator: "\n").map(String.init)
  }

  /// How often a function was called.
  public func calls(of function: String) -> Int { trace.count { $0.hasPrefix(function + " ") } }

  public func provider(name: String = "hsm", pin: String? = nil, maxSessions: Int = 8) throws -> PKCS11Provider {
    try token.provider(name: name, pin: pin, uri: uri, maxSessions: maxSessions)
  }

  /// Whether it can be built and has a SoftHSM to stand in front of.
  public static let isAvailable: Bool = SoftHSM.isInstalled && (try? library.get()) != nil

  /// Built once a process.
  public static let library: Result<String, any Error> = Result {
    let path = built.path + "/faulty-module.so"
    let script = URL(fileURLWithPath: #filePath).appending(path: "../../../Scripts/faulty-module.sh").standardized.path
    let result = try waitForProcess("/bin/bash", [script, path])
    guard result.status == 0 else {
      throw KMSError(.providerUnavailable, "the faulty module cannot be built: \(result.error)")
    }
    return path
  }

  private static let built = TemporaryFolder()
}

import Foundation
public import KMSCore
public import PKCS11Provider
import Synchronization

/// Private SoftHSM tokens for tests. SOFTHSM2_CONF counts for the whole process, and tokens are seen from
/// C_Initialize on: so all are made before the module is first used, and each is given out once.
public enum SoftHSM {
  public struct Token: Sendable {
    public let label: String
    public let pin: String

    public var uri: String { "pkcs11:token=\(label)?module-path=\(SoftHSM.module)" }

    /// A provider on this token.
    public func provider(
      name: String = "hsm", pin: String? = nil, uri: String? = nil, maxSessions: Int = 8
    ) throws -> PKCS11Provider {
      PKCS11Provider(
        PKCS11Configuration(
          name: name, uri: try PKCS11URI(parsing: uri ?? self.uri), pin: secret(pin ?? self.pin),
          maxSessions: maxSessions))
    }
  }

  public static let module = "/usr/lib/softhsm/libsofthsm2.so"
  public static let isInstalled = FileManager.default.fileExists(atPath: module)

  private static let tokens = Mutex<[Token]>(makeTokens(240))

  /// A token that no other test has.
  public static func makeToken() throws -> Token {
    try tokens.withLock { tokens in
      guard let token = tokens.popLast() else {
        throw KMSError(.providerUnavailable, "all test tokens are used; make more in Tests/TestSupport")
      }
      return token
    }
  }

  /// Where SOFTHSM2_CONF and the tokens are; gone when the process ends.
  public static let folder = TemporaryFolder()

  private static func makeTokens(_ count: Int) -> [Token] {
    guard isInstalled else { return [] }
    let tokens = folder.path + "/tokens"
    try? FileManager.default.createDirectory(atPath: tokens, withIntermediateDirectories: true)
    let configuration = folder.path + "/softhsm2.conf"
    let text = "directories.tokendir = \(tokens)\nobjectstore.backend = file\nlog.level = ERROR\n"
    try? text.write(toFile: configuration, atomically: true, encoding: .utf8)
    unsafe setenv("SOFTHSM2_CONF", configuration, 1)  // before any thread of the module reads it
    return (0..<count).compactMap { i in
      // None begins with another: pkcs11-tool takes the first token whose label begins with the one that it is given.
      let token = Token(label: "test-\(1000 + i)", pin: "pin-\(1000 + i)")
      let made = try? waitForProcess(
        "/usr/bin/softhsm2-util",
        ["--init-token", "--free", "--label", token.label, "--pin", token.pin, "--so-pin", "so-pin-1234"])
      return made?.status == 0 ? token : nil
    }
  }
}

/// A secret's source for tests.
public func secret(_ text: String) -> SecretSource {
  SecretSource(description: "test") { SecretBytes(copying: Array(text.utf8).span) }
}

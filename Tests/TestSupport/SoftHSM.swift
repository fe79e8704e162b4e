import Foundation
public import KMSCore
public import PKCS11Provider
import Synchronization

/// SoftHSM tokens for tests, each with a folder and a copy of the library of its own: to one process a copy is an HSM of
/// its own. In one folder a login would disturb whoever starts at that moment, as it overwrites its token's file.
public enum SoftHSM {
  public struct Token: Sendable {
    public let label: String
    public let pin: String
    /// The copy of the library that sees this token, in this process and in those that it starts.
    public let module: String

    public var uri: String { "pkcs11:token=\(label)?module-path=\(module)" }

    /// One more token beside it, with its label and PIN.
    public func makeTwin() throws {
      try SoftHSM.initialize(self, SoftHSM.configuration(of: String(label.dropFirst(5))))
    }

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

  /// The library as it is installed.
  public static let module = "/usr/lib/softhsm/libsofthsm2.so"
  public static let isInstalled = FileManager.default.fileExists(atPath: module)

  /// A token that no other test has.
  ///
  /// - Parameter mechanisms: SoftHSM's `slots.mechanisms`. What is taken away begins with "-,".
  public static func makeToken(mechanisms: String = "ALL") throws -> Token {
    guard let name = names.withLock({ $0.popLast() }) else {
      throw KMSError(.providerUnavailable, "all test tokens are used; make more in Tests/TestSupport")
    }
    let place = "\(folder.path)/\(name)"
    try FileManager.default.createDirectory(atPath: place + "/tokens", withIntermediateDirectories: true)
    let settings = [
      "directories.tokendir = \(place)/tokens", "objectstore.backend = file", "log.level = ERROR",
      "slots.mechanisms = \(mechanisms)",
    ]
    try (settings.joined(separator: "\n") + "\n")
      .write(toFile: configuration(of: name), atomically: true, encoding: .utf8)
    let token = Token(label: "test-\(name)", pin: "pin-\(name)", module: place + "/libsofthsm2.so")
    var copy = library
    if let place = copy.range(of: Data("SOFTHSM2_CONF".utf8)) {
      copy.replaceSubrange(place, with: variable(of: name).utf8)
    }
    try copy.write(to: URL(filePath: token.module))
    try initialize(token, configuration(of: name))
    return token
  }

  private static func initialize(_ token: Token, _ configuration: String) throws {
    let made = try waitForProcess(
      "/usr/bin/softhsm2-util",
      ["--init-token", "--free", "--label", token.label, "--pin", token.pin, "--so-pin", "so-pin-1234"],
      environment: ["SOFTHSM2_CONF": configuration])
    guard made.status == 0 else { throw KMSError(.providerUnavailable, "no test token: \(made.error)") }
  }

  private static let library = (try? Data(contentsOf: URL(filePath: module))) ?? Data()

  /// Gone when the process ends.
  private static let folder = TemporaryFolder()

  private static func configuration(of name: String) -> String { "\(folder.path)/\(name)/softhsm2.conf" }

  /// As long as SOFTHSM2_CONF, whose place in the copy it takes.
  private static func variable(of name: String) -> String { "SOFTHSM2_\(name)" }

  /// Four characters each. The variables are there before any is used, and by one pointer: setenv would move them
  /// under threads that read them.
  private static let names = Mutex<[String]>(
    {
      let names = (1000..<1400).map { String($0) }
      let variables = unsafe names.map { unsafe strdup("\(variable(of: $0))=\(configuration(of: $0))") }  // kept
      var all: [UnsafeMutablePointer<CChar>?] = unsafe variables
      var next = unsafe environ
      while let variable = unsafe next.pointee {  // a list that ends with nil
        unsafe all.append(variable)
        unsafe next += 1
      }
      let list = unsafe UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: all.count + 1)
      unsafe list.initialize(repeating: nil, count: all.count + 1)
      for i in unsafe all.indices { unsafe list[i] = all[i] }
      // Swift has `environ` to be read only. The list is never freed.
      let place = unsafe dlsym(nil, "environ")
      unsafe place?.assumingMemoryBound(to: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?.self).pointee = list
      return names
    }())
}

/// A secret's source for tests.
public func secret(_ text: String) -> SecretSource {
  SecretSource(description: "test") { SecretBytes(copying: Array(text.utf8).span) }
}

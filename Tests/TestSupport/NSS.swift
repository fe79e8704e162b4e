import Foundation
public import KMSCore
public import PKCS11Provider

/// NSS softokn, the token of Mozilla's programs: another implementation than SoftHSM, with other habits.
public final class NSSToken: Sendable {
  public static let library = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so"
  public static let isInstalled = [library, "/usr/bin/certutil"].allSatisfy(FileManager.default.fileExists(atPath:))
  public static let whySkipped = "NSS softokn is not installed (libnss3, libnss3-tools)"

  public let pin = "nss-pin-1234"
  /// A copy, with the cipher library that it takes from its own folder: a module of its own within this process.
  public let module: String
  public let initArguments: String
  private let folder = TemporaryFolder()

  /// A database with nothing in it.
  public init() throws {
    module = folder.path + "/libsoftokn3.so"
    for name in ["libsoftokn3.so", "libfreeblpriv3.so"] {
      try FileManager.default.copyItem(
        atPath: URL(fileURLWithPath: Self.library).deletingLastPathComponent().appending(path: name).path,
        toPath: folder.path + "/" + name)
    }
    keepIfSanitized("libnspr4.so")
    let database = folder.path + "/db"
    try FileManager.default.createDirectory(atPath: database, withIntermediateDirectories: false)
    try Data(pin.utf8).write(to: URL(fileURLWithPath: folder.path + "/pin"))
    let made = try waitForProcess("/usr/bin/certutil", ["-N", "-d", "sql:\(database)", "-f", folder.path + "/pin"])
    guard made.status == 0 else { throw KMSError(.providerUnavailable, "certutil: \(made.error)") }
    initArguments =
      "configdir='sql:\(database)' certPrefix='' keyPrefix='' secmod='secmod.db' flags= dbTokenDescription='nss'"
  }

  public func provider(
    wrapAlgorithms: [WrapAlgorithm] = PKCS11Configuration.defaultWrapAlgorithms
  ) throws -> PKCS11Provider {
    PKCS11Provider(
      PKCS11Configuration(
        name: "nss", tokens: [try PKCS11URI(parsing: "pkcs11:token=nss?module-path=\(module)")], pin: secret(pin),
        wrapAlgorithms: wrapAlgorithms, initArguments: initArguments))
  }
}

internal import DurableFiles
internal import Glibc
internal import KMSCore
internal import SystemPackage

/// Where files are looked for, after the XDG base directory specification.
struct Places {
  let environment: [String: String]

  var home: FilePath { FilePath(environment["HOME"] ?? "/") }
  var configFolder: FilePath { folder("XDG_CONFIG_HOME", ".config") }
  var dataFolder: FilePath { folder("XDG_DATA_HOME", ".local/share") }

  private func folder(_ variable: String, _ fallback: String) -> FilePath {
    let base = environment[variable].flatMap { $0.isEmpty ? nil : FilePath($0) } ?? home.appending(fallback)
    return base.appending("strongroom")
  }

  func configurationFile() throws -> FilePath? {
    if let named = environment["STRONGROOM_CONFIG"], !named.isEmpty { return FilePath(named) }
    return try ["strongroom.yaml", configFolder.appending("strongroom.yaml")].first { try FileStatus($0) != nil }
  }

  /// A key store in the user's data folder; its passphrase from the environment, else from the file that
  /// `strongroom init` makes beside it.
  var builtIn: String {
    let source = environment["STRONGROOM_PASSPHRASE"] == nil ? "file:passphrase" : "env:STRONGROOM_PASSPHRASE"
    return """
      provider: local
      providers:
        local: { type: openssl, keystore: keys.p12, passphrase-source: "\(source)" }
      """
  }
}

/// The process' environment.
public enum ProcessEnvironment {
  /// Names and values, as they are now.
  public static var all: [String: String] {
    var result: [String: String] = [:]
    var entry = unsafe environ  // not changed by the suite while it reads
    while let text = unsafe entry.pointee {  // ends with nil
      let pair = unsafe String(  // copied at once
        cString: text
      ).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if pair.count == 2 { result[String(pair[0])] = String(pair[1]) }
      unsafe entry += 1  // ends with nil
    }
    return result
  }
}

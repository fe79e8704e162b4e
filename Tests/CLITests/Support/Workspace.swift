import Foundation
import TestSupport
import Testing

/// A folder of its own for one test: home, SoftHSM tokens and a working folder. Removed with ``remove()``.
struct Workspace {
  let home: URL
  var folder: URL { home.appending(path: "work") }
  let environment: [String: String]

  /// Stands for the user's data: must come out only where it was asked for.
  static let secret = "plaintext-that-must-not-be-seen"
  static let pin = "pin-7281-4410"

  init() throws {
    home = FileManager.default.temporaryDirectory.appending(path: "strongroom-cli-\(UUID().uuidString)")
    for name in ["work", "tokens"] {
      try FileManager.default.createDirectory(
        at: home.appending(path: name), withIntermediateDirectories: true)
    }
    let softHSM = home.appending(path: "softhsm2.conf")
    try Data("directories.tokendir = \(home.path)/tokens\nobjectstore.backend = file\nlog.level = ERROR\n".utf8)
      .write(to: softHSM)
    let inherited = ProcessInfo.processInfo.environment
    let sanitizers = inherited.filter { ["ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"].contains($0.key) }
    environment = sanitizers.merging([
      "PATH": Self.commandFolder.path + ":" + (inherited["PATH"] ?? "/usr/bin:/bin"),
      "LD_LIBRARY_PATH": inherited["LD_LIBRARY_PATH"] ?? "",
      "HOME": home.path, "SOFTHSM2_CONF": softHSM.path, "MODULE": Self.module ?? "", "PIN": Self.pin,
      "SECRET": Self.secret, "FIXTURES": Self.fixtures.path, "LC_ALL": "C.UTF-8",
      // KiB; a sanitizer maps terabytes.
      "ADDRESS_SPACE": isSanitized ? "unlimited" : "4000000",
    ]) { $1 }
  }

  func remove() { try? FileManager.default.removeItem(at: home) }

  /// Where the build put the command: beside the test bundle.
  static let commandFolder = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()

  static let fixtures = URL(filePath: #filePath).appending(path: "../../../../Fixtures").standardized

  static let module = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"]
    .first { FileManager.default.fileExists(atPath: $0) }

  /// Every file of the working folder with its content; the access log, which grows, left out.
  func snapshot() throws -> [String: Data] {
    var files: [String: Data] = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: folder.path) {
      guard !name.split(separator: "/").contains("log") else { continue }
      let path = folder.appending(path: name).path
      let type = try FileManager.default.attributesOfItem(atPath: path)[.type] as? FileAttributeType
      files[name] =
        type == .typeRegular ? try Data(contentsOf: URL(filePath: path)) : Data((type?.rawValue ?? "").utf8)
    }
    return files
  }

  /// What may never be printed: PIN, passphrase and plaintext.
  var secrets: [String] {
    let passphrase = try? String(contentsOf: folder.appending(path: "passphrase"), encoding: .utf8)
    return [Self.pin, Self.secret] + [passphrase?.trimmingCharacters(in: .newlines)].compactMap { $0 }
  }
}

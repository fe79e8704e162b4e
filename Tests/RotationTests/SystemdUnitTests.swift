import Foundation
import TestSupport
import Testing

/// The unit files that ship, as systemd reads them.
@Suite(.enabled(if: FileManager.default.fileExists(atPath: analyze), "systemd-analyze is not installed"))
struct SystemdUnitTests {
  private static let units = URL(filePath: #filePath).appending(path: "../../../Packaging/systemd").standardized

  /// Copies of the units that start the command of this build.
  private func install(changing change: (String) -> String = { $0 }) throws -> TemporaryFolder {
    let folder = TemporaryFolder()
    for name in ["strongroom-rotate.service", "strongroom-rotate.timer"] {
      let text = try String(contentsOf: Self.units.appending(path: name), encoding: .utf8)
        .replacing("/usr/bin/strongroom", with: builtProducts + "/strongroom")
      try change(text).write(toFile: folder.path + "/" + name, atomically: true, encoding: .utf8)
    }
    return folder
  }

  private func verify(_ folder: TemporaryFolder) async throws -> ProcessResult {
    try await runProcess(
      analyze, ["verify", folder.path + "/strongroom-rotate.timer", folder.path + "/strongroom-rotate.service"])
  }

  @Test("systemd finds nothing wrong with them")
  func verifies() async throws {
    let result = try await verify(try install())
    #expect(result.status == 0 && result.error.isEmpty, "\(result.error)")
    // What it would say of a unit with a mistake.
    let wrong = try await verify(try install { $0.replacing("ProtectSystem=strict", with: "ProtectSistem=strict") })
    #expect(wrong.error.contains("ProtectSistem"))
  }

  @Test("the service is shut in")
  func security() async throws {
    let folder = try install()
    // 10 is nothing shut; the command says whether it is at most 2.
    let result = try await runProcess(
      analyze, ["security", "--offline=true", "--threshold=20", folder.path + "/strongroom-rotate.service"])
    #expect(result.status == 0, "\(result.output.suffix(200))\(result.error)")
    let text = try String(contentsOf: Self.units.appending(path: "strongroom-rotate.service"), encoding: .utf8)
    for line in ["LimitCORE=0", "NoNewPrivileges=yes", "ProtectSystem=strict", "LoadCredential=hsm-pin:"] {
      #expect(text.contains("\n" + line))
    }
  }

  @Test("it calls the command with options that there are")
  func command() async throws {
    let service = try String(contentsOf: Self.units.appending(path: "strongroom-rotate.service"), encoding: .utf8)
    let line = try #require(service.split(separator: "\n").first { $0.hasPrefix("ExecStart=") })
    let arguments = line.split(separator: " ").dropFirst().map(String.init)
    let folder = TemporaryFolder()
    // Its configuration is not there: that is all that is wrong.
    let result = try await runProcess(
      builtProducts + "/strongroom", arguments.map { $0.replacing("/etc/strongroom", with: folder.path) })
    #expect(result.status == 3, "\(result.error)")
    #expect(result.error.contains(folder.path + "/strongroom.yaml"))
  }
}

private let analyze = "/usr/bin/systemd-analyze"

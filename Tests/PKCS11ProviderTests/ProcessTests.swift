import Foundation
import TestSupport
import Testing

/// What of a token may be seen in, or shared with, another process.
@Suite(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
struct ProcessTests {
  private let folder = TemporaryFolder()
  private let token: SoftHSM.Token
  private var configuration: String { folder.path + "/strongroom.yaml" }
  private let probe = builtProducts + "/PKCS11ProcessProbe"
  private let pin = "a-PIN-like-no-other-46d1"

  init() async throws {
    token = try SoftHSM.makeToken()
    try "\(token.pin)\n".write(toFile: folder.path + "/pin", atomically: true, encoding: .utf8)
    let yaml = """
      providers:
        hsm: { type: pkcs11, uri: "\(token.uri)", pin-source: "file:pin" }
      """
    try yaml.write(toFile: folder.path + "/strongroom.yaml", atomically: true, encoding: .utf8)
  }

  @Test(.timeLimit(.minutes(2)))
  func aForkedChildIsRefusedAndDisturbsNothing() async throws {
    let result = try await runProcess(probe, ["fork", configuration])
    #expect(result.status == 0, "\(result.error)")
    #expect(result.output.contains("child: the token was opened before this process was forked"), "\(result.output)")
    #expect(result.output.contains("parent: works; the child ended with 0"), "\(result.output)")
  }

  @Test(
    .disabled(if: isSanitized, "a sanitizer ends a process whose memory is limited"), .timeLimit(.minutes(2)))
  func withoutThreadsCallsFailAndTheProcessGoesOn() async throws {
    let result = try await runProcess(probe, ["threads", configuration])
    #expect(result.status == 0, "\(result.error)")
    #expect(result.output.hasPrefix("limited: no thread can be started to call the token"), "\(result.output)")
    #expect(result.output.hasSuffix("\nagain: works\n"), "\(result.output)")
  }

  /// What `ps` shows, and every byte that a core dump would hold: what is mapped and not marked "dd".
  @Test(
    .timeLimit(.minutes(2)),
    .enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/pkcs11-tool"), "opensc is not installed"))
  func aPINIsNeitherInTheProcessListNorInACoreDump() async throws {
    // One that nothing else in memory looks like.
    let changed = try await runProcess(
      "/usr/bin/pkcs11-tool",
      [
        "--module", token.module, "--token-label", token.label, "--login", "--pin", token.pin, "--change-pin",
        "--new-pin", pin,
      ])
    try #require(changed.status == 0, "\(changed.error)")
    try "\(pin)\n".write(toFile: folder.path + "/pin", atomically: true, encoding: .utf8)
    let (probe, configuration, pin) = (probe, configuration, pin)
    let found = try await onThread { try Self.places(of: pin, in: probe, configuration) }
    #expect(found == [])
    // The search finds what is there.
    let path = try await onThread { try Self.places(of: configuration, in: probe, configuration) }
    #expect(!path.isEmpty)
  }

  /// Where the text is in the memory and in /proc of a process that has the token open.
  private static func places(of text: String, in probe: String, _ configuration: String) throws -> [String] {
    let process = Process()
    let (input, output) = (Pipe(), Pipe())
    process.executableURL = URL(fileURLWithPath: probe)
    process.arguments = ["wait", configuration]
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    defer {
      try? input.fileHandleForWriting.close()
      process.waitUntilExit()
    }
    guard String(decoding: output.fileHandleForReading.availableData, as: UTF8.self).hasPrefix("ready") else {
      return ["the probe does not run"]
    }
    let proc = "/proc/\(process.processIdentifier)"
    let needle = Data(text.utf8)
    var found: [String] = []
    for file in ["cmdline", "environ"] {
      let data = try FileHandle(forReadingFrom: URL(fileURLWithPath: "\(proc)/\(file)")).readToEnd() ?? Data()
      if data.range(of: needle) != nil { found.append(file) }
    }
    let memory = try FileHandle(forReadingFrom: URL(fileURLWithPath: "\(proc)/mem"))
    var range: Range<UInt64>?
    for line in try String(contentsOfFile: "\(proc)/smaps", encoding: .utf8).split(separator: "\n") {
      if let match = line.firstMatch(of: /^([0-9a-f]+)-([0-9a-f]+) r/), let start = UInt64(match.1, radix: 16),
        let end = UInt64(match.2, radix: 16), end - start < 1 << 30
      {
        range = start..<end
      } else if line.hasPrefix("VmFlags:"), let area = range {
        range = nil
        guard !line.split(separator: " ").contains("dd"), (try? memory.seek(toOffset: area.lowerBound)) != nil else {
          continue
        }
        // Some areas of the kernel's are not to be read.
        let bytes = (try? memory.read(upToCount: Int(area.upperBound - area.lowerBound))) ?? nil
        if bytes?.range(of: needle) != nil { found.append("memory at \(area.lowerBound)") }
      }
    }
    return found
  }
}

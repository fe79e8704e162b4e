import Foundation
import KMSCore
import TestSupport
import Testing

private let client: String? = {
  let folders = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib")) ?? []
  return folders.map { "/usr/lib/\($0)/pkcs11/p11-kit-client.so" }
    .first { FileManager.default.fileExists(atPath: $0) }
}()

/// A token behind a network: SoftHSM in a `p11-kit server`, which is killed, started again and frozen.
@Suite(
  .enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"),
  .enabled(if: client != nil && Server.isInstalled, "p11-kit and its client module are not installed"))
struct RemoteTokenTests {
  /// The default. Making the RSA keys takes seconds on a busy machine.
  private static let deadline = 10.0

  /// The provider's own interval of 30 s counts here, twice where the server is frozen soon after it was killed: this
  /// takes 40 to 80 s, most of them asleep.
  @Test(.timeLimit(.minutes(3)))
  func aServerThatDiesAndFreezesGivesNoWrongAnswerAndIsUsedAgain() async throws {
    let (token, client) = (try SoftHSM.makeToken(), try #require(client))
    let said = try await onThread { try Self.runProbe(token, client) }
    #expect(try #require(said["right"]) >= 10_000)
    #expect(said["wrong"] == 0)
    // What was frozen is told from what was dead.
    #expect(said["error deadline-exceeded", default: 0] > 0, "\(said)")
    #expect(said["error provider-unavailable", default: 0] > 0, "\(said)")
    #expect(said.keys.count { $0.hasPrefix("error") } == 2, "\(said)")
    // A sixteenth, and what the machine takes.
    #expect(try #require(said["slowest"]) < (Self.deadline * 17 / 16 + 1) * 1000, "\(said)")
    // From the moment on at which there is a server to serve.
    #expect(said["outages"] == 2, "\(said)")
    #expect(try #require(said["back after"]) < 35_000, "\(said)")
  }

  /// The next call writes to a socket that nobody reads: SIGPIPE, on the thread that asked.
  @Test(.timeLimit(.minutes(2)))
  func aServerThatDiesWhileNothingIsAskedDoesNotEndTheProcess() async throws {
    let (token, client) = (try SoftHSM.makeToken(), try #require(client))
    let said = try await onThread { try Self.runProbe(token, client, count: 8, "idle") }
    #expect(try #require(said["right"]) >= 8)
    #expect(said["wrong"] == 0)
  }

  /// - Returns: what it counted, and times in milliseconds.
  private static func runProbe(
    _ token: SoftHSM.Token, _ client: String, count: Int = 10_000, _ more: String...
  ) throws -> [String: Double] {
    let folder = TemporaryFolder()
    var server = try Server(token, socket: folder.path + "/socket")
    let (probe, input, output) = (Process(), Pipe(), Pipe())
    probe.standardInput = input
    probe.executableURL = URL(fileURLWithPath: builtProducts + "/PKCS11RemoteProbe")
    probe.arguments =
      [
        "pkcs11:token=\(token.label)?module-path=\(client)", token.pin, "\(count)", "\(Int(deadline))",
      ] + more
    probe.environment = ProcessInfo.processInfo.environment.merging(
      ["P11_KIT_SERVER_ADDRESS": "unix:path=\(folder.path)/socket"]) { $1 }
    probe.standardOutput = output
    try probe.run()
    var said: [String: Double] = [:]
    var isDown = false
    var servesSince: UInt64?
    for line in Lines(of: output.fileHandleForReading) {
      switch line {
      case "idle, calls inline":
        server.send(SIGKILL)
        server = try Server(token, socket: folder.path + "/socket")
        try input.fileHandleForWriting.write(contentsOf: Data("go on\n".utf8))
      case "at 3000":
        server.send(SIGKILL)
        isDown = true
      // Not before a call has failed: a server that is back at once is one that nobody missed.
      case "failing" where isDown:
        server = try Server(token, socket: folder.path + "/socket")
        (isDown, servesSince) = (false, monotonicNanoseconds())
      case "at 5000":
        server.send(SIGSTOP)
        Thread.sleep(forTimeInterval: deadline + 1)
        servesSince = monotonicNanoseconds()
        server.send(SIGCONT)
      case _ where line.hasPrefix("again "):
        guard let since = servesSince, let again = Double(line.dropFirst(6)) else { continue }
        said["outages", default: 0] += 1
        said["back after"] = max(said["back after"] ?? 0, again - Double(since) / 1e6)
        servesSince = nil
      default:
        try #require(!line.hasPrefix("idle"), "\(line)")
        let words = line.split(separator: " ")
        if let number = words.last.flatMap({ Double($0) }) { said[words.dropLast().joined(separator: " ")] = number }
      }
    }
    probe.waitUntilExit()
    try #require(probe.terminationReason == .exit && probe.terminationStatus == 0, "\(probe.terminationStatus)")
    return said
  }
}

/// `p11-kit server`, with the processes that it starts for each client. Killed with its last reference.
private final class Server {
  private static let program = "/usr/bin/p11-kit"
  static let isInstalled = FileManager.default.fileExists(atPath: program)
  private let process = Process()

  init(_ token: SoftHSM.Token, socket: String) throws {
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: Self.program)
    process.arguments = [
      "server", "--foreground", "--provider", token.module, "--name", socket, "pkcs11:token=\(token.label)",
    ]
    process.standardOutput = output
    try process.run()
    // It says where it listens once it does.
    try #require(!output.fileHandleForReading.availableData.isEmpty)
    try #require(getpgid(process.processIdentifier) == process.processIdentifier, "it has no group of its own")
  }

  func send(_ signal: CInt) { kill(-process.processIdentifier, signal) }

  deinit {
    send(SIGKILL)
    process.waitUntilExit()
  }
}

private struct Lines: Sequence, IteratorProtocol {
  private let file: FileHandle
  private var rest = Data()
  init(of file: FileHandle) { self.file = file }

  mutating func next() -> String? {
    while true {
      if let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
        defer { rest = Data(rest[(end + 1)...]) }
        return String(decoding: rest[..<end], as: UTF8.self)
      }
      let more = file.availableData
      guard !more.isEmpty else { return nil }
      rest += more
    }
  }
}

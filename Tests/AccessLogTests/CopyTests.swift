import Foundation
import Glibc
import KMSCore
import Synchronization
import SystemPackage
import Testing

@testable import AccessLog

/// Copies of the log's lines, to real sockets and processes. The log itself never waits for one.
@Suite struct CopyTests {
  private func settings(_ folder: FilePath, _ copies: [LogCopyTarget]) -> AccessLogSettings {
    var settings = AccessLogSettings(directory: folder.appending("log"))
    settings.copies = copies
    return settings
  }

  private func lines(_ folder: FilePath) throws -> [String] {
    try files(in: folder.appending("log")).filter { LogFileName($0) != nil }.flatMap { name in
      try String(contentsOfFile: folder.appending("log").appending(name).string, encoding: .utf8)
        .split(separator: "\n").map(String.init)
    }
  }

  @Test func aCommandGetsEachLine() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(settings(folder, [.command("cat > '\(folder)/copy'")]))
      for i in 0..<500 { try await log.report(AccessEvent(.wrap, access: Access(requestID: "\(i)"))) }
      await log.close()
      let expected = try lines(folder)
      var copied: [String] = []
      for _ in 0..<200 where copied.count < expected.count {
        try await Task.sleep(for: .milliseconds(10))
        let text = (try? String(contentsOfFile: folder.appending("copy").string, encoding: .utf8)) ?? ""
        copied = text.split(separator: "\n").map(String.init)
      }
      #expect(copied == expected && expected.count == 500)
    }
  }

  /// A signed log has lines without a time too: checkpoints.
  @Test(arguments: [false, true]) func syslogGetsAMessageALine(_ isSigned: Bool) async throws {
    try await withFolder { folder in
      let path = folder.appending("socket").string
      let socket = Glibc.socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
      defer { close(socket) }
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: Array(path.utf8)) }  // it fits
      let bound = unsafe withUnsafePointer(to: &address) { pointer in  // for the call only
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {  // the address is a sockaddr
          unsafe bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))  // within the rebinding
        }
      }
      #expect(bound == 0)
      let signer = isSigned ? try await TestSigner().signer : nil
      let log = try AccessLogFile(settings(folder, [.syslog(socket: path)]), signer: signer)
      for i in 0..<5 { try await log.report(AccessEvent(.wrap, access: Access(requestID: "\(i)"))) }
      await log.close()
      var (messages, buffer) = ([String](), [UInt8](repeating: 0, count: 4096))
      while true {
        let count = unsafe recv(socket, &buffer, buffer.count, CInt(MSG_DONTWAIT))  // outlives the call
        guard count > 0 else { break }
        messages.append(String(decoding: buffer[..<count], as: UTF8.self))
      }
      let record = /<110>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z - strongroom \d+ access - (\{"timestamp".*\})/
      let checkpoint = /<110>1 - - strongroom \d+ access - (\{"checkpoint".*\})/
      let sent = try messages.compactMap { message in
        try (record.wholeMatch(in: message) ?? checkpoint.wholeMatch(in: message)).map { String($0.1) }
      }
      #expect(try sent == lines(folder))
      #expect(messages.count == (isSigned ? 8 : 5))  // the first, the last, and what is signed
    }
  }

  @Test func aPathThatIsNoSocketsIsTriedWithoutASocket() throws {
    let path = "/tmp/" + String(repeating: "x", count: 120)
    func sockets() throws -> Int {
      try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)"))?.hasPrefix("socket") == true
      }
    }
    let before = try sockets()
    // Each its own: one tries once a second. Other tests have some sockets too.
    for _ in 0..<500 {
      var output = CopyOutput(.syslog(socket: path))
      let isTaken = output.write(Array("{}\n".utf8))
      #expect(!isTaken)
    }
    #expect(try sockets() < before + 250)
  }

  @Test func oneThatDiesLosesLinesAndTheLogSaysSo() async throws {
    try await withFolder { folder in
      // It ends after a line; the next is started a second later at the earliest.
      let told = Mutex<[AccessEvent]>([])
      let log = try AccessLogFile(settings(folder, [.command("head -n 1 >> '\(folder)/copy'")])) { event in
        told.withLock { $0.append(event) }  // for whoever alerts
      }
      let clock = ContinuousClock()
      let start = clock.now
      var reported = 0
      while clock.now - start < .milliseconds(2500) || reported <= 100 {
        try await log.report(AccessEvent(.wrap))
        reported += 1
        try await Task.sleep(for: .milliseconds(5))
      }
      await log.close()
      let all = try lines(folder)
      #expect(all.contains { $0.contains(#""record":"copy""#) && $0.contains("did not take") })
      #expect(told.withLock { $0.contains { $0.operation == .logCopy && $0.errorCode == .accessLogUnavailable } })
      #expect(all.count { $0.contains(#""operation":"wrap""#) } == reported)
    }
  }

  @Test func aSlowOneHoldsNobody() async throws {
    try await withFolder { folder in
      let script = "echo $$ >'\(folder)/pid'; exec sleep 600 >&- 2>&-"  // reads nothing
      let log = try AccessLogFile(settings(folder, [.command(script)]))
      let long = Access(contextNames: (0..<20).map { "\($0)" + String(repeating: "x", count: 400) })
      for _ in 0..<600 { try await log.report(AccessEvent(.wrap, access: long)) }  // 5 MB: more than may wait
      await log.close()
      // It sleeps still: nobody waited for it. One that has ended has no command line.
      let slow = try String(contentsOfFile: folder.appending("pid").string, encoding: .utf8).dropLast()
      #expect(try String(contentsOfFile: "/proc/\(slow)/cmdline", encoding: .utf8).hasPrefix("sleep"))
      if let id = pid_t(slow) { kill(id, SIGKILL) }
      let name = try #require(try files(in: folder.appending("log")).first)
      let bytes = try folder.appending("log").appending(name).bytes
      #expect(bytes.split(separator: 0x0A).count { contains($0, Array(#""operation":"wrap""#.utf8)) } == 600)
    }
  }
}

import CryptoPrimitives
import Foundation
import InMemoryProvider
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

/// A key that signs, and what checks it.
struct TestSigner {
  let provider = InMemoryProvider(name: "memory")
  let signer: LogSigner
  let key: LogVerifierKey

  init() async throws {
    signer = LogSigner(provider, key: try KeyName("access-log"))
    key = try await signer.verifierKey(creating: true)
  }

  /// Patient, as a test may stand still for minutes on a machine that is full of others.
  func verify(
    _ folder: FilePath, now: Timestamp = .now(), patience: Duration = .seconds(3600)
  ) throws -> LogVerification {
    try LogVerifier(directory: folder, keys: [key], now: now, patience: patience).verify()
  }
}

/// Writes one sealed log of so many events and ends it.
func writeLog(
  _ folder: FilePath, _ signer: TestSigner, events: Int, rotateAt: Int = 100 << 20, sealed: Bool = true
) async throws {
  let log = try AccessLogFile(AccessLogSettings(directory: folder, rotateAt: rotateAt), signer: signer.signer)
  let (key, version) = (try KeyName("customer-pii"), KeyVersionID.make())
  for start in stride(from: 0, to: events, by: 50) {
    try await log.report(
      (start..<min(start + 50, events)).map { number in
        AccessEvent(
          .unwrap, key: key, version: version, provider: "hsm",
          access: Access(principal: "billing", requestID: "\(number)"))
      })
  }
  if sealed { await log.close() }
}

extension FilePath {
  var bytes: [UInt8] {
    get throws { Array(try Data(contentsOf: URL(filePath: string))) }
  }
  /// With the newline each; the last one without, if it has none.
  var lines: [[UInt8]] {
    get throws {
      var lines: [[UInt8]] = [[]]
      for byte in try bytes {
        lines[lines.count - 1].append(byte)
        if byte == 0x0A { lines.append([]) }
      }
      return lines.last == [] ? lines.dropLast() : lines
    }
  }
  func put(_ bytes: some Sequence<UInt8>) throws { try Data(bytes).write(to: URL(filePath: string), options: .atomic) }
}

extension LogVerification {
  var kinds: Set<String> { Set(findings.map(\.kind.rawValue)) }
}

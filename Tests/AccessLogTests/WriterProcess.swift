import Foundation
import KMSCore
import OpenSSLProvider
import SystemPackage
import Testing

@testable import AccessLog

/// `AccessLogWriter` stands beside the test runner.
func logWriterPath() throws -> URL {
  let runner = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
  return URL(filePath: runner).deletingLastPathComponent().appending(path: "AccessLogWriter")
}

func logWriter(_ arguments: String...) throws -> Process {
  let process = Process()
  process.executableURL = try logWriterPath()
  process.arguments = arguments
  return process
}

/// Runs a shell script whose `$1` is the writer and `$2` the folder. What it prints.
func run(_ script: String, _ folder: FilePath, namespace: Bool = false) async throws -> String {
  let (process, output) = (Process(), Pipe())
  process.executableURL = URL(filePath: namespace ? "/usr/bin/unshare" : "/bin/sh")
  let shell = ["-c", script, "sh", try logWriterPath().path, folder.string]
  process.arguments = namespace ? ["-m", "/bin/sh"] + shell : shell
  process.standardOutput = output
  try process.run()
  let text = String(decoding: await readingToEnd(of: output.fileHandleForReading).value, as: UTF8.self)
  process.waitUntilExit()
  return text
}

/// A key store with a key that signs logs, as `AccessLogWriter` opens it.
struct SigningStore {
  let path: FilePath
  let signer: LogSigner
  let key: LogVerifierKey

  init(in folder: FilePath) async throws {
    path = folder.appending("keys.p12")
    let passphrase = SecretSource(description: "test") { SecretBytes(copying: Array("a passphrase".utf8).span) }
    let provider = OpenSSLProvider(
      OpenSSLConfiguration(name: "local", keystore: path.string, passphrase: passphrase))
    signer = LogSigner(provider, key: try KeyName("access-log"))
    key = try await signer.verifierKey(creating: true)
  }
}

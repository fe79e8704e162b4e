import Foundation
import KMSCore
import PKCS11Provider
import TestSupport
import Testing

private let aad: [UInt8] = [1]

/// What is on the token, seen with another program's eyes: OpenSC's pkcs11-tool.
@Suite(
  .enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"),
  .enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/pkcs11-tool"), "opensc is not installed"))
struct TokenTests {
  private func tool(_ token: SoftHSM.Token, _ arguments: [String]) async throws -> ProcessResult {
    try await runProcess(
      "/usr/bin/pkcs11-tool",
      ["--module", token.module, "--token-label", token.label, "--login", "--pin", token.pin] + arguments)
  }

  @Test func aKEKWrapsAndUnwrapsOnlyAndStaysInTheToken() async throws {
    let token = try SoftHSM.makeToken()
    let provider = try token.provider()
    let version = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("customer-pii")))
    let listed = try await tool(token, ["--list-objects"]).output
    #expect(listed.contains("AES length 32"))
    #expect(listed.contains("label:      customer-pii"))
    #expect(listed.contains(version.id.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()))
    #expect(listed.contains("Usage:      wrap, unwrap\n"), "\(listed)")
    #expect(listed.contains("sensitive, always sensitive, never extractable, local"), "\(listed)")
    await provider.close()
  }

  @Test func deactivatingTakesTheUseFromTheTokenToo() async throws {
    let token = try SoftHSM.makeToken()
    let provider = try token.provider()
    let version = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("customer-pii")))
    let changed = try await provider.setState(.deactivated, of: version.id)
    #expect(changed.enforcement == .token)
    #expect(try await tool(token, ["--list-objects"]).output.contains("Usage:      unwrap\n"))
    _ = try await provider.setState(.suspended, of: version.id)
    #expect(try await tool(token, ["--list-objects"]).output.contains("Usage:      none\n"))
    await provider.close()
    // Another process: nothing is remembered but what the token holds.
    let again = try token.provider()
    #expect(try await again.keyVersions(of: nil).map(\.state) == [.suspended])
    _ = try await again.setState(.compromised, of: version.id)
    await again.close()
    let third = try token.provider()
    #expect(try await third.keyVersions(of: nil).map(\.state) == [.compromised])
    #expect(try await third.keyVersions(of: nil).map(\.enforcement) == [.token])
    await third.close()
  }

  @Test func twoKeysWithOneIdAreNamedAndNotUsed() async throws {
    let token = try SoftHSM.makeToken()
    let provider = try token.provider()
    let version = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("first")))
    let secret = SecretBytes.random(count: 32)
    let id = version.id.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    let made = try await tool(
      token, ["--keygen", "--key-type", "AES:32", "--label", "second", "--id", id, "--usage-wrap", "--sensitive"])
    try #require(made.status == 0, "\(made.error)")
    do {
      _ = try await provider.keyVersions(of: nil)
      Issue.record("both were listed")
    } catch let error as KMSError {
      #expect(error.code == .duplicateKeyVersion)
      #expect("\(error)".contains("first") && "\(error)".contains("second"), "\(error)")
    }
    await #expect(throws: KMSError(.duplicateKeyVersion, "")) {
      _ = try await provider.wrap(secret, under: version.id, aad: aad)
    }
    await provider.close()
  }

  @Test func anotherProcessesKeysAndStatesAreSeen() async throws {
    let token = try SoftHSM.makeToken()
    let (one, two) = (try token.provider(), try token.provider(name: "other"))
    #expect(try await two.keyVersions(of: nil) == [])
    let version = try await one.createKeyVersion(NewKeyVersion(key: KeyName("shared")))
    let secret = SecretBytes.random(count: 32)
    let wrapped = try await two.wrap(secret, under: version.id, aad: aad)
    let back = try await one.unwrap(wrapped, under: version.id, aad: aad)
    let same = back.equals(secret)
    #expect(same)
    _ = try await one.setState(.deactivated, of: version.id)
    // The token refuses at once, whatever the other provider remembers.
    var refusal: KMSError.Code?
    do { _ = try await two.wrap(secret, under: version.id, aad: aad) } catch let error as KMSError {
      refusal = error.code
    }
    #expect(refusal == .keyStateForbids || refusal == .providerFailed)
    await one.close()
    await two.close()
  }

  @Test func manyTasksAtOnceGetRightAnswersAndLeaveNothing() async throws {
    let token = try SoftHSM.makeToken()
    let provider = try token.provider(maxSessions: 3)
    let version = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("busy")))
    try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<8 {
        group.addTask {
          var right = 0
          for _ in 0..<500 {
            let secret = SecretBytes.random(count: 32)
            let wrapped = try await provider.wrap(secret, under: version.id, aad: aad)
            let back = try await provider.unwrap(wrapped, under: version.id, aad: aad)
            if back.equals(secret) { right += 1 }
          }
          return right
        }
      }
      // Token writes beside them.
      for i in 0..<5 {
        _ = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("beside-\(i)")))
      }
      for try await right in group { #expect(right == 500) }
    }
    // Session objects of this process: none is left when no call is under way.
    #expect(try await provider.sessionObjectCount() == 0)
    await provider.close()
  }
}

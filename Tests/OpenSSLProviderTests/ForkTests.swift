import Foundation
import TestSupport
import Testing

/// What a process that was forked from one with open keys can do with them: their memory is wiped there.
struct ForkTests {
  private let folder = TemporaryFolder()

  /// The probe makes a key and wraps by it; its child unwraps, then the parent.
  private func run(_ provider: String) async throws -> ProcessResult {
    let configuration = folder.path + "/strongroom.yaml"
    try "providers: { own: \(provider) }\n".write(toFile: configuration, atomically: true, encoding: .utf8)
    try "a long passphrase\n".write(toFile: folder.path + "/passphrase", atomically: true, encoding: .utf8)
    return try await runProcess(builtProducts + "/PKCS11ProcessProbe", ["fork", configuration])
  }

  @Test(.timeLimit(.minutes(2))) func aKeyStoreIsOpenedAnew() async throws {
    let result = try await run(#"{ type: openssl, keystore: keys.p12, passphrase-source: "file:passphrase" }"#)
    #expect(result.output == "child: works\nparent: works; the child ended with 0\n", "\(result)")
  }

  @Test(.timeLimit(.minutes(2))) func keysInMemoryAreTheParents() async throws {
    let result = try await run("{ type: memory }")
    #expect(result.output.hasPrefix("child: the keys in memory are those of the process"), "\(result)")
    #expect(result.output.hasSuffix("parent: works; the child ended with 0\n"), "\(result)")
  }
}

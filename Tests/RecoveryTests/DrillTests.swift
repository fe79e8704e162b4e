import Foundation
import InMemoryProvider
import PublicKeyProvider
import RecoveryShares
import Strongroom
import SystemPackage
import TestSupport
import Testing

/// Envelopes open with the offline key alone: by `recovery drill`'s code, and without the suite.
struct DrillTests {
  private let folder = TemporaryFolder()
  private let recorder = Recorder()
  private let context: EncryptionContext
  private let plaintext = [UInt8]("a letter".utf8)

  /// Makes `field`, `file` (of three segments), `private.pem`, `offline.001` to `.003`, and closes what made them.
  init() async throws {
    context = try EncryptionContext([(name: "row", value: "7")])
    try await folder.run(
      """
      openssl genrsa -aes256 -passout pass:four-words -out private.pem 2048 2>&1
      openssl pkey -in private.pem -passin pass:four-words -pubout -out public.pem
      head -c 2500000 /dev/urandom >plain
      """)
    let memory = InMemoryProvider(name: "hsm")
    let board = PublicKeyProvider(name: "board", key: try KeyName("board"), pem: folder.path + "/public.pem")
    let manager = try DataAtRestManager(
      providers: [memory, board], configuration: DataAtRestConfig(recoveryRecipients: ["offline", "board"]),
      reporter: Recorder())
    try await manager.createKey(KeyName("default"))
    let kit = try RecoveryKit(folder: FilePath(folder.path), key: try KeyName("offline"))
    _ = try await manager.createRecoveryKey(
      kit.key, reason: "test",
      keep: { secret, planned in
        try kit.write(secret, RecoveryNote(version: planned.id, provider: "hsm", shares: 3, threshold: 2))
      }, discard: {})
    try folder.write(try await manager.encrypt(plaintext, context: context), to: "field")
    try await manager.encryptFile(from: .path(path("plain")), to: .path(path("file")), context: context)
    // The HSM is lost.
    await manager.close()
  }

  private func path(_ name: String) -> FilePath { FilePath(folder.path + "/" + name) }

  private func key(_ numbers: [Int] = [1, 3]) throws -> OfflineKey {
    try OfflineKey(SecretSharing.combine(numbers.map { try ShareFile.read(path("offline.00\($0)")) }))
  }

  private func rsa(_ passphrase: String? = "four-words") throws -> OfflineKey {
    let pem = try folder.secret("private.pem")
    return try OfflineKey(privatePEM: pem, passphrase: passphrase.map { secret($0) }, name: "private.pem")
  }

  @Test("fields and files open with two shares, and with the private key", arguments: ["shares", "rsa"])
  func opens(_ kind: String) async throws {
    let drill = RecoveryDrill(reporter: recorder)
    let offline = try kind == "rsa" ? rsa() : key()
    let field = try await drill.open(.path(path("field")), with: offline, context: context)
    #expect(field.kind == .field && field.plaintextBytes == plaintext.count && field.segments == 1)
    #expect(field.algorithm == (kind == "rsa" ? .rsaOAEP256 : .a256KW))
    let file = try await drill.open(
      .path(path("file")), with: offline, to: .path(path("out")), context: context, principal: "board")
    #expect(file.kind == .file && file.plaintextBytes == 2_500_000 && file.segments == 3)
    #expect(file.recipient == field.recipient)
    #expect(try await folder.run("cmp plain out").status == 0)
    _ = try await drill.open(.path(path("field")), with: offline, to: .path(path("letter")), context: context)
    #expect(try folder.bytes("letter") == plaintext)

    let logged = recorder.events
    #expect(logged.map(\.operation.rawValue) == [String](repeating: "recovery-drill", count: 6))
    #expect(logged.map(\.phase) == [.intent, .outcome, .intent, .outcome, .intent, .outcome])
    #expect(logged[1].reason == "proof only" && logged[3].reason?.hasPrefix("recovered to") == true)
    #expect(logged[3].access.principal == "board" && logged[3].version == file.recipient)
  }

  @Test("what does not open says so, leaves no output, and is in the log")
  func refuses() async throws {
    let drill = RecoveryDrill(reporter: recorder)
    let one = try folder.secret("offline.001")
    let tooFew = try OfflineKey(one)
    try await folder.run("head -c 2000000 file >cut; echo hello >text; : >empty")
    let good = try key()
    let none = EncryptionContext.empty
    for (name, offline, context, code) in [
      ("field", tooFew, context, KMSError.Code.doesNotOpen), ("file", tooFew, context, .doesNotOpen),
      ("field", good, none, .doesNotOpen), ("file", good, none, .doesNotOpen), ("cut", good, context, .doesNotOpen),
      ("text", good, context, .malformedEnvelope), ("empty", good, context, .malformedEnvelope),
      ("gone", good, context, .fileNotFound),
    ] {
      let error = try await failure {
        _ = try await drill.open(.path(path(name)), with: offline, to: .path(path("out")), context: context)
      }
      #expect(error.code == code && !error.advice.isEmpty, "\(name): \(error)")
      #expect(!FileManager.default.fileExists(atPath: folder.path + "/out"))
      #expect(recorder.events.last?.errorCode == code)
    }
  }

  @Test("a log that takes no intent: nothing is opened")
  func noLog() async throws {
    recorder.refuseAll()
    let drill = RecoveryDrill(reporter: recorder)
    let error = try await failure {
      _ = try await drill.open(.path(path("field")), with: key(), to: .path(path("out")), context: context)
    }
    #expect(error.code == .accessLogUnavailable)
    #expect(!FileManager.default.fileExists(atPath: folder.path + "/out"))
  }

  @Test("a private key needs its passphrase, and nothing asks for it")
  func passphrase() async throws {
    for passphrase in [nil, "wrong"] {
      #expect(try await failure { _ = try rsa(passphrase) }.code == .accessDenied)
    }
    let nothing = SecretBytes(copying: plaintext.span)
    let error = try await failure { _ = try OfflineKey(privatePEM: nothing, passphrase: nil, name: "letter") }
    #expect(error.code == .accessDenied && !"\(error)".contains("four-words"))
  }

  @Test(
    "gfcombine and open-envelope.py open both without the suite",
    .enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/gfcombine"), "libgfshare-bin is not installed"),
    .enabled(if: Self.python != nil, "Scripts/interop/setup.sh has not made the Python environment"))
  func withoutTheSuite() async throws {
    let script = "\(Self.python ?? "") \(Self.root)/Scripts/open-envelope.py"
    try await folder.run(
      """
      gfcombine -o recovery.key offline.003 offline.002
      openssl pkey -in private.pem -passin pass:four-words -out open.pem; cp offline.001 share
      xxd -p -c 64 recovery.key >recovery.hex
      """)
    for option in ["--recovery-key recovery.key", "--recovery-key recovery.hex", "--private-key open.pem"] {
      let result = try await folder.run(
        "rm -f a b; \(script) file -o a \(option) --context row=7; \(script) field -o b \(option) --context row=7")
      #expect(result.status == 0, "\(option): \(result.error)")
      #expect(try await folder.run("cmp a plain").status == 0)
      #expect(try folder.bytes("b") == plaintext)
    }
    // One share is no key.
    let refused = try await folder.run("rm -f a; \(script) field -o a --recovery-key share --context row=7")
    #expect(refused.status == 1 && refused.error.hasPrefix("open-envelope: not ours"), "\(refused.error)")
    #expect(try await folder.run("\(script) field").status == 2)
    #expect(try await folder.run("\(script) field --recovery-key plain").status == 2)
    #expect(try await folder.run("\(script) field --private-key public.pem").status == 2)
  }

  private static let root = URL(fileURLWithPath: #filePath).appendingPathComponent("../../..").standardizedFileURL.path
  private static let python = ["\(root)/.build/interop-venv/bin/python"].first {
    FileManager.default.fileExists(atPath: $0)
  }
}

import Foundation
import KMSCore
import PKCS11
import PKCS11Provider
import TestSupport
import Testing

private let aad: [UInt8] = [1]

/// Keys that somebody else made in the token: by pkcs11-tool, and by whoever sets attributes as it cannot.
@Suite(
  .enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"),
  .enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/pkcs11-tool"), "opensc is not installed"))
struct AdoptionTests {
  private let token: SoftHSM.Token
  private let provider: PKCS11Provider

  init() throws {
    token = try SoftHSM.makeToken()
    provider = try token.provider()
  }

  @discardableResult
  private func tool(_ arguments: [String]) async throws -> String {
    let result = try await runProcess(
      "/usr/bin/pkcs11-tool",
      ["--module", token.module, "--token-label", token.label, "--login", "--pin", token.pin] + arguments)
    try #require(result.status == 0, "\(result.error)")
    return result.output
  }

  /// A wrapping KEK as an HSM's own tool would make it, with some attributes in another way.
  private func make(_ label: String, id: [UInt8], _ others: [AttributeType: Template.Value] = [:]) async throws {
    let usual: [AttributeType: Template.Value] = [
      .token: .flag(true), .isPrivate: .flag(true), .sensitive: .flag(true), .extractable: .flag(false),
      .wrap: .flag(true), .unwrap: .flag(true), .encrypt: .flag(false), .decrypt: .flag(false), .sign: .flag(false),
      .verify: .flag(false), .derive: .flag(false), .valueLength: .number(32), .id: .bytes(id),
      .label: .bytes(Array(label.utf8)),
    ]
    let module = try Module(path: token.module)
    let pin = SecretBytes(copying: Array(token.pin.utf8).span)
    let session = try Session(
      module: module, slot: try Token.find(label: token.label, serial: nil, in: module).slot)
    try session.login(pin: pin)
    _ = try session.generateAES(Template(usual.merging(others) { $1 }.map { ($0.key, $0.value) }))
  }

  private func request(_ id: [UInt8], _ name: String = "adopted", _ purpose: KeyPurpose = .wrap) throws
    -> NewKeyVersion
  {
    NewKeyVersion(key: try KeyName(name), purpose: purpose, id: try KeyVersionID(id))
  }

  @Test func aKeyOfPkcs11ToolIsOursOnceItIsAdopted() async throws {
    try await tool(["--keygen", "--key-type", "AES:32", "--label", "good-name", "--id", "0a0b", "--sensitive"])
    #expect(try await provider.keyVersions(of: nil) == [])
    let candidate = try #require(try await provider.adoptableKeys().first)
    #expect(candidate.label == "good-name" && candidate.id?.description == "0a0b" && candidate.purpose == nil)
    #expect(candidate.obstacles.map(\.isRemovable) == [true], "\(candidate.obstacles)")
    await #expect(throws: KMSError(.keyNotAdoptable, "")) {
      _ = try await provider.adoptKey(try request([0x0A, 0x0B]), restricting: false)
    }
    let adopted = try await provider.adoptKey(try request([0x0A, 0x0B]), restricting: true)
    #expect(adopted.warnings.count == 2 && adopted.warnings[0].contains("until now"), "\(adopted.warnings)")
    #expect(adopted.warnings[1].contains("without the PIN"), "\(adopted.warnings)")  // the tool's way, if not told
    #expect(adopted.version.state == .active && adopted.version.enforcement == .token)
    let objects = try await tool(["--list-objects"])
    #expect(objects.contains("Usage:      verify, wrap, unwrap\n"), "\(objects)")
    #expect(objects.contains("good-name") && objects.contains("strongroom-adopted"), "\(objects)")
    #expect(try await provider.adoptableKeys() == [])

    let secret = SecretBytes.random(count: 32)
    let wrapped = try await provider.wrap(secret, under: adopted.version.id, aad: aad)
    await provider.close()
    // Another node reads it from the token.
    let again = try token.provider()
    #expect(try await again.keyVersions(of: KeyName("adopted")) == [adopted.version])
    let back = try await again.unwrap(wrapped, under: adopted.version.id, aad: aad)
    let same = back.equals(secret)
    #expect(same)
    _ = try await again.setState(.suspended, of: adopted.version.id)
    #expect(try await again.keyVersions(of: nil).map(\.state) == [.suspended])
    _ = try await again.setState(.destroyed, of: adopted.version.id)
    #expect(try await again.keyVersions(of: nil) == [])
    #expect(try await !tool(["--list-objects"]).contains("strongroom"))
    await again.close()
  }

  @Test func whatSpeaksAgainstAKeyIsSaidAndNothingIsChanged() async throws {
    let on = Template.Value.flag(true)
    try await make("short", id: [1], [.valueLength: .number(16)])
    try await make("extractable", id: [2], [.extractable: on])
    try await make("readable", id: [3], [.sensitive: .flag(false)])
    try await make("both", id: [4], [.encrypt: on])
    try await make("nothing", id: [5], [.wrap: .flag(false), .unwrap: .flag(false)])
    try await make("one-way", id: [6], [.unwrap: .flag(false)])
    try await make("no-id", id: [])
    for label in ["twin", "twin-too"] { try await make(label, id: [7]) }
    try await tool(["--keygen", "--key-type", "GENERIC:32", "--label", "generic", "--id", "08", "--sensitive"])
    let ours = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("ours")))
    // In whatever order the tool finds them.
    func objects() async throws -> [Substring] { try await tool(["--list-objects"]).split(separator: "\n").sorted() }
    let before = try await objects()

    let problems = Dictionary(
      try await provider.adoptableKeys().map { ($0.label, $0.obstacles.map(\.problem).joined(separator: "; ")) },
      uniquingKeysWith: { first, _ in first })
    for (label, problem) in [
      ("short", "128 bits"), ("extractable", "taken out"), ("readable", "be read"), ("both", "both wraps and encrypts"),
      ("nothing", "neither wraps nor encrypts"), ("one-way", "does not unwrap"), ("no-id", "no CKA_ID"),
      ("twin", "same CKA_ID"), ("twin-too", "same CKA_ID"), ("generic", "no AES key"),
    ] {
      #expect(problems[label]?.contains(problem) == true, "\(label): \(problems[label] ?? "not listed")")
    }
    #expect(problems["ours"] == nil)
    for id in [1, 2, 3, 4, 5, 6, 7, 8] as [UInt8] {
      let error = await #expect(throws: KMSError.self) {
        _ = try await provider.adoptKey(try request([id]), restricting: false)
      }
      #expect(error?.code == .keyNotAdoptable && error?.advice.isEmpty == false, "\(id): \(error as Any)")
    }
    // A restriction that would not be enough changes nothing either.
    for id in [1, 5, 6, 7, 8] as [UInt8] {
      await #expect(throws: KMSError(.keyNotAdoptable, "")) {
        _ = try await provider.adoptKey(try request([id]), restricting: true)
      }
    }
    for (id, code) in [([9], .keyNotFound), (ours.id.bytes, .duplicateKeyVersion)] as [([UInt8], KMSError.Code)] {
      await #expect(throws: KMSError(code, "")) {
        _ = try await provider.adoptKey(try request(id), restricting: true)
      }
    }
    #expect(try await objects() == before)
    #expect(try await provider.keyVersions(of: nil) == [ours])
    await provider.close()
  }

  @Test func aKeysPastIsToldAndItsPurposeKept() async throws {
    try await make("exposed", id: [1], [.extractable: .flag(true), .sensitive: .flag(false)])
    try await make(
      "cipher", id: [2], [.wrap: .flag(false), .unwrap: .flag(false), .encrypt: .flag(true), .decrypt: .flag(true)])
    try await tool(
      [
        "--write-object", "/dev/stdin", "--type", "secrkey", "--key-type", "AES:32", "--label", "from-outside", "--id",
        "03", "--sensitive", "--usage-wrap",
      ].map { $0 == "/dev/stdin" ? try keyFile() : $0 })
    let exposed = try await provider.adoptKey(try request([1], "exposed"), restricting: true)
    #expect(exposed.warnings.contains { $0.contains("readable once") })
    #expect(exposed.warnings.contains { $0.contains("taken out once") })
    await #expect(throws: KMSError(.keyPurposeForbids, "")) {
      _ = try await provider.adoptKey(try request([2], "cipher"), restricting: false)
    }
    let cipher = try await provider.adoptKey(try request([2], "cipher", .encrypt), restricting: false)
    #expect(cipher.version.purpose == .encrypt && cipher.warnings.isEmpty)
    let sealed = try await provider.encrypt([1, 2, 3].span, under: cipher.version.id, aad: aad)
    #expect(try await provider.decrypt(sealed, under: cipher.version.id, aad: aad).unprotectedCopy() == [1, 2, 3])
    let outside = try await provider.adoptKey(try request([3], "outside"), restricting: true)
    #expect(outside.warnings.contains { $0.contains("not made in this token") })
    await #expect(throws: KMSError(.duplicateKeyVersion, "")) {
      _ = try await provider.adoptKey(try request([3], "again"), restricting: true)
    }
    await provider.close()
  }

  /// A destruction that was cut off between the key and its records, seen from the next key with that id.
  @Test func recordsWithoutAKeySayNothing() async throws {
    let data = folder.path + "/record"
    for (application, text) in [
      ("strongroom", "state=compromised purpose=wrap token=true"), ("strongroom-adopted", "key=gone purpose=wrap"),
    ] {
      try Data(text.utf8).write(to: URL(fileURLWithPath: data))
      try await tool([
        "--write-object", data, "--type", "data", "--label", "0a", "--application-label", application, "--private",
      ])
    }
    #expect(try await provider.keyVersions(of: nil) == [])
    let kek = SecretBytes(copying: [UInt8](repeating: 7, count: 32).span)
    let version = try await provider.importKeyVersion(try request([0x0A], "back"), material: kek)
    #expect(version.state == .active && version.key.description == "back")
    #expect(try await provider.keyVersions(of: nil) == [version])
    await provider.close()
  }

  private let folder = TemporaryFolder()

  private func keyFile() throws -> String {
    let path = folder.path + "/key"
    try Data((0..<32).map { UInt8($0) }).write(to: URL(fileURLWithPath: path))
    return path
  }

  /// CKA_MODIFIABLE off: C_SetAttributeValue fails, and the suite keeps the states.
  @Test func whoKeepsAStateIsRightAfterEveryStep() async throws {
    try await make("fixed", id: [1], [AttributeType(rawValue: 0x170): .flag(false)])
    let fixed = try await provider.adoptKey(try request([1], "fixed"), restricting: false).version
    let movable = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("movable")))
    let secret = SecretBytes.random(count: 32)
    for state in [
      KeyState.active, .deactivated, .active, .suspended, .deactivated, .suspended, .active, .deactivated, .compromised,
    ] {
      for (version, keeper) in [(fixed, state == .active ? .token : .suite), (movable, .token)]
        as [(KeyVersion, StateEnforcement)]
      {
        let changed = try await provider.setState(state, of: version.id)
        let listed = try await provider.keyVersions(of: version.key)
        #expect(listed == [changed] && changed.state == state && changed.enforcement == keeper, "\(changed) \(listed)")
        var refusal: KMSError.Code?
        do { _ = try await provider.wrap(secret, under: version.id, aad: aad) } catch let error as KMSError {
          refusal = error.code
        }
        #expect(refusal == (state.wraps ? nil : .keyStateForbids), "\(version.key) \(state)")
      }
    }
    for id in [fixed.id, movable.id] { _ = try await provider.setState(.destroyed, of: id) }
    #expect(try await !tool(["--list-objects"]).contains("strongroom"))
    await provider.close()
  }
}

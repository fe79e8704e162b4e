import Foundation
import TestSupport
import Testing

private let spy: String? = {
  let folders = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib")) ?? []
  return folders.map { "/usr/lib/\($0)/pkcs11-spy.so" }.first { FileManager.default.fileExists(atPath: $0) }
}()

/// What crosses the border to the token, as OpenSC's pkcs11-spy sees it.
@Suite(
  .enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"),
  .enabled(if: spy != nil, "pkcs11-spy (opensc-pkcs11) is not installed"))
struct SpyTests {
  /// One logged call: its number, function and the lines below.
  struct Call {
    let function: String
    var lines: [String]
    var text: String { lines.joined(separator: "\n") }
    func has(_ attribute: String, _ value: String) -> Bool {
      lines.contains { $0.contains(attribute) && $0.contains(value) }
    }
  }

  private func trace() async throws -> [Call] {
    let token = try SoftHSM.makeToken()
    let folder = TemporaryFolder()
    let log = folder.path + "/spy.log"
    let uri = "pkcs11:token=\(token.label)?module-path=\(try #require(spy))"
    let result = try await runProcess(
      builtProducts + "/PKCS11SpyProbe", [uri, token.pin],
      environment: ["PKCS11SPY": token.module, "PKCS11SPY_OUTPUT": log])
    try #require(result.output == "done\n", "\(result.error)")
    var calls: [Call] = []
    for line in try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n") {
      if let match = line.firstMatch(of: /^\d+: (C_\w+)/) {
        calls.append(Call(function: String(match.1), lines: []))
      } else if !calls.isEmpty {
        calls[calls.count - 1].lines.append(String(line))
      }
    }
    // Before keys are looked for, the token was tried out, with keys of the session.
    let searched = try #require(calls.firstIndex { $0.function == "C_FindObjectsInit" })
    for call in calls[..<searched] where ["C_GenerateKey", "C_CreateObject", "C_UnwrapKey"].contains(call.function) {
      #expect(call.has("CKA_TOKEN", "False") || call.has("CKA_TOKEN", "00"), "\(call.text)")
    }
    return Array(calls[searched...])
  }

  @Test func noKEKIsEverInTheProcess() async throws {
    let calls = try await trace()
    let made = calls.filter { $0.function == "C_GenerateKey" }
    try #require(made.count == 2)
    for call in made {
      #expect(call.has("CKA_SENSITIVE", "True") || call.has("CKA_SENSITIVE", "01"), "\(call.text)")
      #expect(call.has("CKA_EXTRACTABLE", "False") || call.has("CKA_EXTRACTABLE", "00"))
      #expect(call.has("CKA_ENCRYPT", "False") || call.has("CKA_ENCRYPT", "00"))
      #expect(!call.text.contains("CKA_VALUE "))
    }
    // Token objects are made by C_GenerateKey alone: what C_CreateObject makes lives in its session.
    for call in calls where call.function == "C_CreateObject" {
      #expect(call.has("CKA_TOKEN", "False") || call.has("CKA_TOKEN", "00"), "\(call.text)")
    }
    // CKA_VALUE is asked for once: the content key's, by unwrap.
    let asked = calls.filter { $0.function == "C_GetAttributeValue" && $0.text.contains("CKA_VALUE ") }
    #expect(asked.count == 1)
  }

  @Test func aRewrapKeepsTheContentKeyInTheToken() async throws {
    let calls = try await trace()
    let unwraps = calls.indices.filter { calls[$0].function == "C_UnwrapKey" }
    try #require(unwraps.count == 3)  // one by unwrap; by rewrap one to open and one to check
    let rewrap = calls[unwraps[1]...]
    #expect(rewrap.contains { $0.function == "C_WrapKey" })
    #expect(rewrap.contains { $0.function == "C_DigestKey" })
    #expect(!rewrap.contains { $0.function == "C_GetAttributeValue" || $0.function == "C_CreateObject" })
    for call in rewrap where call.function == "C_UnwrapKey" {
      #expect(call.has("CKA_SENSITIVE", "True") || call.has("CKA_SENSITIVE", "01"), "\(call.text)")
    }
    // The key's bytes, as the spy prints memory.
    func hex(_ call: Call) -> String { call.text.lowercased().filter { $0.isHexDigit } }
    let all = calls[..<unwraps[1]].map(hex).joined()
    #expect(all.contains("c0c1c2c3c4c5c6c7"), "the spy shows memory in another form: the next line proves nothing")
    #expect(!rewrap.map(hex).joined().contains("c0c1c2c3c4c5c6c7"))
  }
}

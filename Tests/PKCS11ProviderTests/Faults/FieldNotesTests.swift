import KMSCore
import PKCS11Provider
import TestSupport
import Testing

/// What a token is asked, call by call: lines of the field notes that no fault shows.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct FieldNotesTests {
  /// A probe at each checkout has cost others a second a call; looking for the key costs 100 ms with 3,000 objects.
  @Test func aWrapIsItsOwnCallsAndNoOther() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(maxSessions: 2)
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    let before = module.trace.count
    for _ in 0..<10 { _ = try await provider.wrapOnce(id) }
    let functions = module.trace.dropFirst(before).map { $0.prefix { $0 != " " } }
    // A copy of the KEK, of which there is one at most in ten wraps, is made, destroyed, and may end within a wrap, which
    // is then made anew (decision 33).
    let copies = functions.count { $0 == "C_CopyObject" }
    #expect(copies <= 1 && (30...30 + 5 * copies).contains(functions.count))
    #expect(Set(functions).subtracting(["C_CopyObject"]) == ["C_CreateObject", "C_WrapKey", "C_DestroyObject"])
    await provider.close()
  }

  /// A login is the process' own and not the session's: who logs out or closes all sessions does so for others, too.
  @Test func nobodyElseIsLoggedOut() async throws {
    let module = try FaultyModule()
    let (one, other) = (try module.impatient(), try module.impatient())
    let id = try await one.makeKey()
    #expect(try await other.roundTrips(id))
    await one.close()
    #expect(try await other.roundTrips(id))
    #expect(module.calls(of: "C_Logout") == 0 && module.calls(of: "C_CloseAllSessions") == 0)
    await other.close()
  }

  /// A failed operation may stay active in its session: that one is closed, and another opened.
  @Test func aSessionInWhichACallFailedIsNotUsedAgain() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient(maxSessions: 1)
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    let (opened, closed) = (module.calls(of: "C_OpenSession"), module.calls(of: "C_CloseSession"))
    let logins = module.calls(of: "C_Login")
    try module.control("on C_WrapKey at 1 fail CKR_GENERAL_ERROR")
    _ = await failure { _ = try await provider.wrapOnce(id) }
    #expect(try await provider.roundTrips(id))
    #expect(module.calls(of: "C_OpenSession") > opened && module.calls(of: "C_CloseSession") > closed)
    // One session holds the login: it was the last that logs out.
    #expect(module.calls(of: "C_Login") == logins)
    await provider.close()
  }

  /// A search that is not ended keeps its session from the next one.
  @Test func everySearchIsEnded() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    for number in 0..<3 { _ = try await provider.makeKey("key-\(number)") }
    #expect(try await provider.keyVersions(of: nil).count == 3)
    #expect(module.calls(of: "C_FindObjectsInit") > 0)
    #expect(module.calls(of: "C_FindObjectsInit") == module.calls(of: "C_FindObjectsFinal"))
    await provider.close()
  }

  /// SoftHSM's Key Wrap pads other lengths with zeros in silence: the token is not asked.
  @Test(arguments: [0, 1, 15, 17, 33]) func lengthsAreCheckedBeforeTheToken(_ length: Int) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    let before = module.trace.count
    let error = await failure {
      _ = try await provider.wrap(SecretBytes.random(count: length), under: id, aad: boundData)
    }
    #expect(error?.code == .invalidInput, "\(error as Any)")
    #expect(module.trace.count == before)
    await provider.close()
  }

  /// SoftHSM gave errors to calls beside these. A call within the delay would be seen after it.
  @Test func keysAreMadeAndChangedAndSessionsOpenedAlone() async throws {
    let alone = ["C_OpenSession", "C_CloseSession", "C_GenerateKey", "C_SetAttributeValue"].flatMap {
      ["on \($0) alone", "on \($0) delay 10", "on \($0) alone"]
    }
    let module = try FaultyModule()
    let provider = try module.impatient(maxSessions: 4)
    let id = try await provider.makeKey()
    try module.control((alone + ["on C_WrapKey delay 3", "missing C_CopyObject"]).joined(separator: "\n"))
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<6 {
        group.addTask {
          for _ in 0..<20 { _ = try await provider.wrapOnce(id) }
          let other = try await provider.makeKey("key-\(number)")
          _ = try await provider.setState(.deactivated, of: other)
          for _ in 0..<20 { _ = try await provider.wrapOnce(id) }
        }
      }
      try await group.waitForAll()
    }
    let sessions = try #require(await provider.health().sessions)
    #expect(sessions.open > 1, "nothing ran beside anything")
    await provider.close()
    #expect(!module.trace.contains { $0.hasSuffix("CKR_FUNCTION_REJECTED") })
  }

  /// Session objects stay until their session closes: each is destroyed, whatever came between.
  @Test(arguments: [
    "on C_WrapKey fail CKR_KEY_NOT_WRAPPABLE", "on C_GetAttributeValue every 2 fail CKR_FUNCTION_FAILED",
  ])
  func contentKeysAreDestroyedAlsoAfterAnError(fault: String) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    let wrapped = try await provider.wrapOnce(id)
    try module.control(fault)
    for _ in 0..<2 {
      _ = await failure { _ = try await provider.wrapOnce(id) }
      _ = await failure { _ = try await provider.unwrap(wrapped, under: id, aad: boundData) }
    }
    #expect(module.trace.contains { $0.hasSuffix(String(fault.split(separator: " ").last ?? "")) })
    func count(_ functions: String...) -> Int { module.trace.count { functions.map { $0 + " CKR_OK" }.contains($0) } }
    let trials = count("C_GenerateKey") - 1  // the KEK stays
    #expect(count("C_CreateObject", "C_UnwrapKey", "C_CopyObject") + trials == count("C_DestroyObject"))
    await provider.close()
  }

  /// Never a bare number, and what to try next.
  @Test(arguments: [
    "CKR_KEY_NOT_WRAPPABLE", "CKR_WRAPPING_KEY_SIZE_RANGE", "CKR_WRAPPING_KEY_TYPE_INCONSISTENT", "CKR_CANT_LOCK",
    "CKR_FUNCTION_NOT_PARALLEL", "CKR_USER_TOO_MANY_TYPES", "CKR_SESSION_EXISTS", "CKR_MUTEX_BAD",
  ])
  func anErrorNamesTheCodeTheFunctionAndTheMechanism(code: String) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    try module.control("on C_WrapKey fail \(code)")
    let error = try #require(await failure { _ = try await provider.wrapOnce(id) })
    for part in [code, "C_WrapKey", "CKM_AES_KEY_WRAP"] {
      #expect(error.cause?.contains(part) == true, "\(error)")
    }
    #expect(!error.advice.isEmpty && !"\(error)".contains(module.token.pin))
    await provider.close()
  }

  /// The KEK's id is looked for before a key is made: some tokens replace the old one without a word.
  @Test func anIdIsNeverUsedTwice() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    let wrapped = try await provider.wrapOnce(id)
    let made = module.calls(of: "C_GenerateKey")
    #expect(
      await failure { _ = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("other"), id: id)) } != nil)
    #expect(module.calls(of: "C_GenerateKey") == made)
    _ = try await provider.unwrap(wrapped, under: id, aad: boundData)
    await provider.close()
  }
}

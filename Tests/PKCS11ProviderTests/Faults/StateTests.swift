import KMSCore
import PKCS11
import PKCS11Provider
import TestSupport
import Testing

/// States of keys in tokens that take flags in their own way, or not at all.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct StateTests {
  /// Of two attributes in one C_SetAttributeValue this token takes the first only. It copies no keys, so none is
  /// replaced.
  @Test func attributesAreSetOneACall() async throws {
    let module = try FaultyModule("missing C_CopyObject", "one-attribute")
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    for state in [KeyState.suspended, .active, .deactivated, .compromised] {
      let changed = try await provider.setState(state, of: id)
      #expect(changed.state == state && changed.enforcement == .token)
      #expect(try await provider.keyVersions(of: nil) == [changed])
    }
    #expect(Set(module.trace.filter { $0.hasPrefix("C_SetAttributeValue") }) == ["C_SetAttributeValue CKR_OK"])
    await provider.close()
  }

  /// It says CKR_OK, and leaves the flag as it was: it is read back.
  @Test func aFlagThatTheTokenOnlySaysItTakesIsKeptByTheSuite() async throws {
    let module = try FaultyModule("missing C_CopyObject", "make CKA_WRAP=true in C_SetAttributeValue")
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    let changed = try await provider.setState(.deactivated, of: id)
    #expect(changed.enforcement == .suite)
    let other = try module.impatient()
    #expect(try await other.keyVersions(of: nil) == [changed])
    for provider in [provider, other] {
      #expect(await failure { _ = try await provider.wrapOnce(id) }?.code == .keyStateForbids)
    }
    await provider.close()
    await other.close()
  }

  /// The token says nothing when such a key is used: others read the state anew from time to time.
  @Test(.timeLimit(.minutes(2))) func aStateThatTheSuiteKeepsIsSeenByOthers() async throws {
    let module = try FaultyModule("missing C_CopyObject", "on C_SetAttributeValue fail CKR_ATTRIBUTE_READ_ONLY")
    let (provider, other) = (try module.impatient(), try module.impatient())
    let id = try await provider.makeKey()
    _ = try await other.wrapOnce(id)
    #expect(try await provider.setState(.deactivated, of: id).enforcement == .suite)
    var error: KMSError?
    while error == nil {
      try await Task.sleep(for: .milliseconds(50))
      error = await failure { _ = try await other.wrapOnce(id) }
    }
    #expect(error?.code == .keyStateForbids, "\(error as Any)")
    await provider.close()
    await other.close()
  }

  /// Some tokens say so to a use that the key's flags forbid, others so.
  @Test(arguments: ["CKR_KEY_FUNCTION_NOT_PERMITTED", "CKR_KEY_TYPE_INCONSISTENT"])
  func aForbiddenUseIsToldByEitherCode(code: String) async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    _ = try await provider.wrapOnce(id)
    // Another program may have changed the flags: they are looked at once more.
    try module.control("on C_WrapKey at 1 fail \(code)")
    _ = try await provider.wrapOnce(id)
    try module.control("on C_WrapKey fail \(code)")
    #expect(await failure { _ = try await provider.wrapOnce(id) }?.code == .keyStateForbids)
    await provider.close()
  }

  /// Who has a session and the PIN can give a deactivated key its flags back; a compromised one is never active again.
  @Test func aCompromisedKeyTakesItsFlagsBackFromNobody() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    for (state, refusal) in [(KeyState.deactivated, nil), (.compromised, ReturnValue(0x1B))] {
      _ = try await provider.setState(state, of: id)
      let returned: ReturnValue? = try module.withSession { session throws(CallFailure) in
        let keys = try session.find(Template([(.id, .bytes(id.bytes)), (.objectClass, .number(4))]))
        do throws(CallFailure) { for key in keys { try session.set(.wrap, to: true, of: key) } } catch {
          return error.returned
        }
        return keys.count == 1 ? nil : ReturnValue(0)
      }
      #expect(returned == refusal, "\(state)")
    }
    #expect(try await provider.keyVersions(of: nil).map(\.state) == [.compromised])
    _ = try await provider.setState(.destroyed, of: id)
    #expect(try await provider.strayObjectCount() == 0)
    await provider.close()
  }

  /// The record is written before the flags. Whoever makes the change again, the call itself or another process, is not
  /// through because the record says so.
  @Test(
    arguments: [
      ("missing C_CopyObject", "on C_SetAttributeValue at 1 fail CKR_SESSION_HANDLE_INVALID"),
      ("", "on C_CopyObject at 1 fail CKR_SESSION_CLOSED"),
      ("", "on C_DestroyObject at 1 fail CKR_SESSION_CLOSED"),  // the copy stands beside the key
    ], [KeyState.deactivated, .compromised])
  func aChangeThatWasCutOffAfterItsRecordIsCompleted(fault: (token: String, cut: String), state: KeyState) async throws
  {
    let module = try FaultyModule(fault.token)
    let provider = try module.impatient()
    for isKilled in [false, true] {
      let id = try await provider.makeKey()
      _ = try await provider.wrapOnce(id)
      let cut = isKilled ? fault.cut.replacing(" at 1 ", with: " ") : fault.cut
      try module.control(fault.token, cut)
      let error = await failure { _ = try await provider.setState(state, of: id) }
      #expect((error != nil) == isKilled, "\(error as Any)")
      try module.control(fault.token)
      if isKilled {
        let other = try module.impatient()
        #expect(try await other.keyVersions(of: nil).first { $0.id == id }?.state == state)
        #expect(try await other.setState(state, of: id).enforcement == .token)
        await other.close()
      }
      let flags = try module.withSession { session throws(CallFailure) in
        let keys = try session.find(Template([(.id, .bytes(id.bytes)), (.objectClass, .number(4))]))
        var flags: [[[UInt8]?]] = []
        for key in keys { flags.append(try session.attributes(of: key, [.wrap, .unwrap])) }
        return flags
      }
      #expect(flags == [[[0], [1]]], "\(isKilled)")
    }
    await provider.close()
  }

  @Test func aKeyThatTheTokenOnlySaysItDestroysIsNotDestroyed() async throws {
    let module = try FaultyModule()
    let provider = try module.impatient()
    let id = try await provider.makeKey()
    _ = try await provider.setState(.deactivated, of: id)
    try module.control("on C_DestroyObject skip")
    let error = await failure { _ = try await provider.setState(.destroyed, of: id) }
    #expect(error?.code == .tokenNotTrustworthy, "\(error as Any)")
    try module.control()
    #expect(try await provider.keyVersions(of: nil).map(\.state) == [.deactivated])
    // Without a login, no handle names anything.
    try module.control("on C_DestroyObject at 1 logout")
    #expect(try await provider.setState(.destroyed, of: id).state == .destroyed)
    #expect(try await provider.keyVersions(of: nil) == [])
    #expect(try await provider.strayObjectCount() == 0)
    await provider.close()
  }
}

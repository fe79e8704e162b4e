import KMSCore
import PKCS11
import PKCS11Provider
import TestSupport
import Testing

/// Searches of tokens that give few objects a call, and of tokens that hold many.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct SearchTests {
  @Test(arguments: [1, 3]) func objectsThatComeInPortionsAreAllFound(portion: Int) async throws {
    let module = try FaultyModule("portions \(portion)")
    let provider = try module.impatient()
    var states: [KeyVersionID: KeyState] = [:]
    for number in 0..<4 {
      let id = try await provider.makeKey("key-\(number)")
      states[id] = .compromised  // with a record each
      _ = try await provider.setState(.compromised, of: id)
    }
    let found = try await provider.keyVersions(of: nil)
    #expect(Dictionary(uniqueKeysWithValues: found.map { ($0.id, $0.state) }) == states)
    #expect(try await provider.strayObjectCount() == 0)
    await provider.close()
  }

  /// More than one call of C_FindObjects gives, also where the token gives as much as was asked for.
  @Test func moreKeysThanOneCallGivesAreAllFound() async throws {
    let module = try FaultyModule()
    let ids = (0..<270).map { _ in KeyVersionID.make() }
    try module.withSession { session throws(CallFailure) in
      for id in ids + [ids[0]] { _ = try session.generateAES(Self.key(id)) }
    }
    let provider = try module.impatient()
    let error = await failure { _ = try await provider.keyVersions(of: nil) }
    #expect(error?.code == .duplicateKeyVersion && error?.message.contains("\(ids[0])") == true, "\(error as Any)")
    for id in [ids[1], ids[135], ids[269]] { #expect(try await provider.roundTrips(id)) }
    let spares = try module.withSession { session throws(CallFailure) in
      let twins = try session.find(Template([(.id, .bytes(ids[0].bytes))]))
      try session.destroy(twins[1])
      return twins.count
    }
    #expect(spares == 2)
    #expect(try await provider.keyVersions(of: nil).map(\.id) == ids.sorted())
    await provider.close()
  }

  private static func key(_ id: KeyVersionID) -> Template {
    Template([
      (.token, .flag(true)), (.isPrivate, .flag(true)), (.sensitive, .flag(true)), (.extractable, .flag(false)),
      (.wrap, .flag(true)), (.unwrap, .flag(true)), (.encrypt, .flag(false)), (.decrypt, .flag(false)),
      (.valueLength, .number(32)), (.id, .bytes(id.bytes)), (.label, .bytes(Array("many".utf8))),
    ])
  }
}

import Dispatch
import KMSCore
import PKCS11Provider
import Synchronization
import TestSupport
import Testing

/// Sources of the PIN that take their time.
@Suite(.enabled(if: FaultyModule.isAvailable, "the faulty module cannot be built, or SoftHSM is not installed"))
struct PINSourceTests {
  /// Gives the PIN when it may. The first reading hangs, as that of a file on a server that is gone.
  private final class Source: Sendable {
    let reads = Atomic(0)
    private let isThere = DispatchSemaphore(value: 0)
    let pin: String
    init(_ pin: String) { self.pin = pin }

    func read() -> SecretBytes {
      if reads.add(1, ordering: .relaxed).newValue == 1 { _ = isThere.wait(timeout: .now() + 60) }
      return SecretBytes(copying: Array(pin.utf8).span)
    }
    func goOn() { isThere.signal() }
  }

  private func provider(_ module: FaultyModule, _ deadline: Duration, _ pin: SecretSource) throws -> PKCS11Provider {
    PKCS11Provider(
      PKCS11Configuration(
        name: "hsm", tokens: [try PKCS11URI(parsing: module.uri)], pin: pin, deadline: deadline,
        reopenInterval: .milliseconds(1)))
  }

  @Test(.timeLimit(.minutes(2))) func oneThatHangsHoldsNobodyUpAndOneThread() async throws {
    let module = try FaultyModule()
    let source = Source(module.token.pin)
    let provider = try provider(
      module, .seconds(1), SecretSource(description: "file:/nfs/pin") { source.read() })
    for _ in 0..<12 {
      let health = await provider.health()
      #expect(!health.isServing, "\(health)")
    }
    let error = await failure { _ = try await provider.keyVersions(of: nil) }
    #expect(error?.code == .secretUnavailable && error?.message.contains("file:/nfs/pin") == true, "\(error as Any)")
    #expect(source.reads.load(ordering: .relaxed) == 1)
    #expect(module.calls(of: "C_Login") == 0)
    source.goOn()
    for _ in 0..<200 where await !provider.health().isServing { try await Task.sleep(for: .milliseconds(50)) }
    #expect(await provider.health().isServing)
    await provider.close()
  }

  @Test(.timeLimit(.minutes(1)), arguments: ["typed", "command:pinentry"])
  func aPersonIsWaitedForLongerThanAToken(description: String) async throws {
    let module = try FaultyModule()
    let source = Source(module.token.pin)
    let pin = SecretSource(description: description, asksAPerson: description == "typed") { source.read() }
    let provider = try provider(module, .seconds(3), pin)
    async let versions = provider.keyVersions(of: nil)
    try await Task.sleep(for: .seconds(6))
    source.goOn()
    #expect(try await versions == [])
    await provider.close()
  }
}

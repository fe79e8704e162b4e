import KMSCore
import PKCS11Provider
import Synchronization
import TestSupport
import Testing

@Suite(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
struct OpeningTests {
  @Test func aWrongPINIsTriedOnce() async throws {
    let token = try SoftHSM.makeToken()
    let reads = Atomic(0)
    let pin = Mutex("wrong-pin")
    let provider = PKCS11Provider(
      PKCS11Configuration(
        name: "hsm", uri: try PKCS11URI(parsing: token.uri),
        pin: SecretSource(description: "test") {
          reads.add(1, ordering: .relaxed)
          return SecretBytes(copying: Array(pin.withLock { $0 }.utf8).span)
        }))
    for expected in ["is wrong", "not tried again"] {
      do {
        _ = try await provider.keyVersions(of: nil)
        Issue.record("a wrong PIN was taken")
      } catch let error as KMSError {
        #expect(error.code == .accessDenied)
        #expect(error.message.contains(expected), "\(error)")
        #expect(!"\(error)".contains("wrong-pin"))
      }
    }
    // A corrected source is seen without a restart.
    pin.withLock { $0 = token.pin }
    #expect(try await provider.keyVersions(of: nil) == [])
    await provider.close()
  }

  @Test func aMissingTokenIsToldWithThoseThatAreThere() async throws {
    let token = try SoftHSM.makeToken()
    let provider = try token.provider(uri: "pkcs11:token=nowhere?module-path=\(token.module)")
    do {
      _ = try await provider.keyVersions(of: nil)
      Issue.record("a token was found")
    } catch let error as KMSError {
      #expect(error.code == .providerUnavailable)
      #expect("\(error)".contains(token.label))
    }
  }

  @Test func aMissingModuleIsNamed() async throws {
    let provider = try SoftHSM.makeToken().provider(uri: "pkcs11:token=t?module-path=/nowhere/p11.so")
    await #expect(throws: KMSError(.providerUnavailable, "")) { _ = try await provider.keyVersions(of: nil) }
  }

  @Test func aLibraryThatIsNoModuleIsRefused() async throws {
    let provider = try SoftHSM.makeToken().provider(uri: "pkcs11:token=t?module-path=/etc/passwd")
    await #expect(throws: KMSError(.providerUnavailable, "")) { _ = try await provider.keyVersions(of: nil) }
  }

  @Test(arguments: [
    "pkcs11:token=t", "pkcs11:?module-path=/a/b.so", "pkcs11:token=t?module-path=b.so", "http://x",
    "pkcs11:token=t;colour=red?module-path=/a/b.so", "pkcs11:token=t;token=u?module-path=/a/b.so",
    "pkcs11:token=%zz?module-path=/a/b.so", "pkcs11:token=%+1?module-path=/a/b.so",
    "pkcs11:token=\(String(repeating: "x", count: 33))?module-path=/a/b.so",
    "pkcs11:token=t;slot-id=0?module-path=/a/b",
    "pkcs11:token=t?module-path=/a/b.so&pin-value=hush-hush",
  ])
  func urisAreReadStrictly(text: String) {
    do {
      _ = try PKCS11URI(parsing: text)
      Issue.record("it was taken")
    } catch {
      #expect((error as? KMSError)?.code == .configurationInvalid)
      #expect(!"\(error)".contains("hush-hush"))
    }
  }

  @Test func aURIIsReadWhole() throws {
    let uri = try PKCS11URI(
      parsing: "pkcs11:token=my%20prod;serial=01?module-path=/usr/lib/x.so&pin-source=file:/run/pin")
    #expect(uri.tokenLabel == "my prod")
    #expect(uri.serial == "01")
    #expect(uri.modulePath == "/usr/lib/x.so")
    #expect(uri.pinSource == "file:/run/pin")
  }
}

import Foundation
import TestSupport
import Testing

@Suite(.enabled(if: SoftHSM.isInstalled, "SoftHSM is not installed"))
struct ModuleTests {
  /// p11-kit alone crashes here, or gives a module that was ended.
  @Test func openingWhileTheLastUserClosesFindsAStartedModule() async throws {
    let folder = TemporaryFolder()
    let configuration = folder.path + "/softhsm2.conf"
    try "directories.tokendir = \(folder.path)\n".write(toFile: configuration, atomically: true, encoding: .utf8)
    let result = try await runProcess(
      builtProducts + "/PKCS11OpenCloseProbe", ["pkcs11:token=none?module-path=\(SoftHSM.module)"],
      environment: ["SOFTHSM2_CONF": configuration])
    #expect(result.status == 0, "\(result.error)")
    #expect(result.output.hasPrefix("there is no token 'none'") && result.output.split(separator: "\n").count == 1)
    withExtendedLifetime(folder) {}
  }
}

import Foundation
import KMSTesting
import Testing

/// The worked example of the guide "Implementing a provider" keeps the contract, and is what the guide prints.
struct GuideTests {
  @Test(arguments: ProviderContract.checks)
  func guideProvider(check: ProviderContract.Check) async throws {
    try await check.run(ProviderFactory { GuideProvider() })
  }

  @Test("the guide prints the example that is tested")
  func sameText() throws {
    let here = URL(filePath: #filePath).deletingLastPathComponent()
    let guide = try String(
      contentsOf: here.appending(path: "../../Sources/KMSCore/Documentation.docc/ImplementingAProvider.md"),
      encoding: .utf8)
    let example = try String(contentsOf: here.appending(path: "GuideProvider.swift"), encoding: .utf8)
    let blocks = guide.components(separatedBy: "```swift\n").dropFirst().map {
      $0.components(separatedBy: "```")[0]
    }
    #expect(blocks.first == example)
  }
}

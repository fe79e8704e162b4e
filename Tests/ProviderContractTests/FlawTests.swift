import KMSTesting
import Testing

/// The contract finds a provider's flaw, by the check that is for it and no other.
struct FlawTests {
  private static let found: [FlawedProvider.Flaw?: [String]] = [
    nil: [],
    .directIV: ["direct encryption takes a new IV each time"],
    .wrapIV: ["what authenticates the AAD opens with it only, and takes a new IV each time"],
    .wrapAAD: ["what authenticates the AAD opens with it only, and takes a new IV each time"],
    .signature: ["a signature is the key's, and for its message only"],
    .signerIsListed: ["the newest signing key of a name is found, and is no key version"],
  ]

  @Test(arguments: FlawedProvider.Flaw.allCases + [nil])
  func isFound(_ flaw: FlawedProvider.Flaw?) async throws {
    var violated: [String] = []
    for check in ProviderContract.checks {
      do { try await check.run(ProviderFactory { FlawedProvider(flaw) }) } catch is ContractViolation {
        violated.append(check.description)
      }
    }
    #expect(violated == Self.found[flaw])
  }
}

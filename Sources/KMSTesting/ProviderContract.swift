public import KMSCore

/// The contract of ``KMSProvider`` as checks that a provider passes or not. No test framework is needed:
///
/// ```swift
/// @Test(arguments: ProviderContract.checks) func contract(check: ProviderContract.Check) async throws {
///   try await check.run(ProviderFactory { MyProvider(store: temporaryStore()) })
/// }
/// ```
public enum ProviderContract {
  /// One sentence of the contract.
  public struct Check: Sendable, CustomStringConvertible {
    /// The sentence.
    public let description: String
    private let body: @Sendable (ProviderFactory) async throws -> Void

    init(_ description: String, _ body: @escaping @Sendable (ProviderFactory) async throws -> Void) {
      self.description = description
      self.body = body
    }

    /// - Throws: ``ContractViolation``, or whatever the provider threw when it should not have.
    public func run(_ factory: ProviderFactory) async throws { try await body(factory) }
  }

  /// All of them. Those for a capability pass when the provider does not have it.
  public static let checks: [Check] =
    keyChecks + wrapChecks + stateChecks + capabilityChecks + signingChecks + behaviourChecks
}

/// Makes the providers that the checks use.
public struct ProviderFactory: Sendable {
  /// A provider on a new, empty store.
  public let make: @Sendable () async throws -> any KMSProvider
  /// Another provider on the store of the one given; nil where nothing outlives a provider.
  public let reopen: (@Sendable (any KMSProvider) async throws -> any KMSProvider)?

  /// `make` is called once or more by each check.
  public init(
    reopen: (@Sendable (any KMSProvider) async throws -> any KMSProvider)? = nil,
    make: @escaping @Sendable () async throws -> any KMSProvider
  ) {
    self.make = make
    self.reopen = reopen
  }
}

/// A provider does not do what the contract says.
public struct ContractViolation: Error, CustomStringConvertible {
  /// The sentence.
  public let description: String
  init(_ description: String) { self.description = description }
}

func require(_ condition: Bool, _ what: @autoclosure () -> String) throws {
  guard condition else { throw ContractViolation(what()) }
}

/// Runs `body`, which must fail with one of `codes`.
func expect(_ codes: KMSError.Code..., of what: String, _ body: () async throws -> Void) async throws {
  do { try await body() } catch let error as KMSError {
    return try require(
      codes.contains(error.code), "\(what): the error is \(error.code), expected \(codes.map(\.rawValue))")
  } catch {
    throw ContractViolation("\(what): \(type(of: error)) came out, where only KMSError may")
  }
  throw ContractViolation("\(what): there is no error, expected \(codes.map(\.rawValue))")
}

extension KMSProvider {
  /// A new key version of a key that no other check uses.
  func newVersion(_ name: String = "contract", purpose: KeyPurpose = .wrap) async throws -> KeyVersion {
    try await createKeyVersion(NewKeyVersion(key: KeyName(name), purpose: purpose))
  }

  /// Whether `wrapped` gives `key` back.
  func gives(_ key: borrowing SecretBytes, for wrapped: WrappedKey, under id: KeyVersionID) async throws -> Bool {
    let back = try await unwrap(wrapped, under: id, aad: contractAAD)
    return back.equals(key)
  }
}

let contractAAD: [UInt8] = Array("strongroom contract".utf8)
/// How often what must be different each time is looked at.
let manyTimes = 20

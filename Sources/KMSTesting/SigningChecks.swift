internal import CryptoPrimitives
internal import KMSCore

extension ProviderContract {
  static let signingChecks: [Check] = [
    Check("a signature is the key's, and for its message only") { factory in
      try await signing(factory) { provider in
        let (one, two) = (try await provider.newSigner("contract-one"), try await provider.newSigner("contract-two"))
        guard let key = ECDSAPublicKey(der: one.publicKey), let other = ECDSAPublicKey(der: two.publicKey) else {
          throw ContractViolation("the public key is no SubjectPublicKeyInfo of a key on P-256")
        }
        try require(one.publicKey != two.publicKey, "two keys are one")
        for message in [[], Array("strongroom".utf8), [UInt8](repeating: 0x5A, count: 5000)] {
          let signature = try await provider.sign(message, with: one.id)
          try require(key.verifies(signature, of: message), "its key does not verify \(message.count) bytes")
          try require(!key.verifies(signature, of: message + [0]), "it is for another message as well")
          try require(!other.verifies(signature, of: message), "another key verifies it")
        }
      }
    },
    Check("the newest signing key of a name is found, and is no key version") { factory in
      try await signing(factory) { provider in
        let name = try KeyName("contract-one")
        let none = try await provider.signingKey(named: name)
        try require(none == nil, "a new store has one")
        let first = try await provider.newSigner("contract-one")
        try require(first.name == name, "it is called \(first.name)")
        let second = try await provider.newSigner("contract-one")
        try require(first.id != second.id, "two keys have one id")
        _ = try await provider.newSigner("contract-two")
        let found = try await provider.signingKey(named: name)
        try require(found == (first.id < second.id ? second : first), "not the newest is found")
        let listed = try await provider.keyVersions(of: nil)
        try require(listed.isEmpty, "it is listed as a key version")
      }
    },
    Check("only signing keys sign, and they wrap nothing") { factory in
      try await signing(factory) { provider in
        let (signer, version) = (try await provider.newSigner("contract-one"), try await provider.newVersion())
        for id in [version.id, .make(after: version.id)] {
          try await expect(.keyNotFound, of: "sign") { _ = try await provider.sign([1], with: id) }
        }
        let secret = SecretBytes.random(count: 32)
        try await expect(.keyNotFound, of: "wrap") {
          _ = try await provider.wrap(secret, under: signer.id, aad: contractAAD)
        }
        await provider.close()
        try await expect(.closed, of: "sign") { _ = try await provider.sign([1], with: signer.id) }
        try await expect(.closed, of: "create") { _ = try await provider.newSigner("contract-two") }
        try await expect(.closed, of: "find") { _ = try await provider.signingKey(named: signer.name) }
      }
    },
  ]

  /// Runs `body` on a provider that signs, if it does: some have tokens that cannot, or make keys that are not as asked
  /// for.
  private static func signing(_ factory: ProviderFactory, _ body: (any Signing) async throws -> Void) async throws {
    let made = try await factory.make()
    guard let provider = made as? any Signing else { return }
    do { _ = try await provider.newSigner("contract") } catch let error as KMSError
      where [.notSupported, .tokenNotTrustworthy].contains(error.code)
    {
      return await provider.close()
    }
    try await body(provider)
    await provider.close()
  }
}

extension Signing {
  fileprivate func newSigner(_ name: String) async throws -> SigningKey {
    try await createSigningKey(named: KeyName(name))
  }
}

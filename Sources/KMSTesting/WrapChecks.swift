internal import KMSCore

extension ProviderContract {
  static let wrapChecks: [Check] = [
    Check("what was wrapped comes back") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      for _ in 0..<20 {
        let secret = SecretBytes.random(count: 32)
        let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
        if wrapped.algorithm == .a256KW {
          try require(wrapped.bytes.count == 40 && wrapped.iv.isEmpty, "AES Key Wrap gave \(wrapped.bytes.count) bytes")
        }
        try require(try await provider.gives(secret, for: wrapped, under: version.id), "another key came back")
      }
      await provider.close()
    },
    Check("only keys of 32 bytes are wrapped") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      for count in [0, 16, 31, 33, 64] {
        let secret = SecretBytes.random(count: count)
        try await expect(.invalidInput, of: "wrapping \(count) bytes") {
          _ = try await provider.wrap(secret, under: version.id, aad: contractAAD)
        }
      }
      await provider.close()
    },
    Check("changed, cut and extended wrapped keys do not open") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      let secret = SecretBytes.random(count: 32)
      let good = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      var bad = good.bytes.indices.map { i in
        var bytes = good.bytes
        bytes[i] ^= 1 << UInt8(i % 8)
        return bytes
      }
      bad += [
        [], [0], Array(good.bytes.dropLast()), Array(good.bytes.dropLast(8)), good.bytes + [0], good.bytes + good.bytes,
      ]
      for bytes in bad {
        try await expect(.doesNotOpen, of: "unwrapping \(bytes.count) changed bytes") {
          _ = try await provider.unwrap(
            WrappedKey(algorithm: good.algorithm, iv: good.iv, bytes: bytes), under: version.id, aad: contractAAD)
        }
      }
      try require(try await provider.gives(secret, for: good, under: version.id), "the good one no longer opens")
      await provider.close()
    },
    Check("what authenticates the AAD opens with it only, and takes a new IV each time") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      let secret = SecretBytes.random(count: 32)
      let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      guard wrapped.algorithm == .a256GCM else { return await provider.close() }
      try require(wrapped.iv.count == 12 && wrapped.bytes.count == 48, "AES-GCM gave \(wrapped.bytes.count) bytes")
      var otherIV = wrapped.iv
      otherIV[0] ^= 1
      let bad = [
        (wrapped.iv, contractAAD + [0]), (wrapped.iv, Array(contractAAD.dropLast())), (otherIV, contractAAD),
        ([], contractAAD),
      ]
      for (iv, aad) in bad {
        try await expect(.doesNotOpen, of: "unwrapping with another AAD or IV") {
          _ = try await provider.unwrap(
            WrappedKey(algorithm: .a256GCM, iv: iv, bytes: wrapped.bytes), under: version.id, aad: aad)
        }
      }
      var ivs: Set = [wrapped.iv]
      for _ in 1..<manyTimes { ivs.insert(try await provider.wrap(secret, under: version.id, aad: contractAAD).iv) }
      try require(ivs.count == manyTimes, "\(manyTimes) wraps took \(ivs.count) IVs")
      await provider.close()
    },
    Check("another version does not open it") { factory in
      let provider = try await factory.make()
      let one = try await provider.newVersion()
      let two = try await provider.createKeyVersion(NewKeyVersion(key: one.key, id: .make(after: one.id)))
      let secret = SecretBytes.random(count: 32)
      let wrapped = try await provider.wrap(secret, under: one.id, aad: contractAAD)
      try await expect(.doesNotOpen, of: "unwrapping under another version") {
        _ = try await provider.unwrap(wrapped, under: two.id, aad: contractAAD)
      }
      await provider.close()
    },
    Check("an algorithm that the provider does not know is refused") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      try await expect(.notSupported, .doesNotOpen, of: "COSE algorithm 999") {
        _ = try await provider.unwrap(
          WrappedKey(algorithm: WrapAlgorithm(rawValue: 999), bytes: [UInt8](repeating: 0, count: 40)),
          under: version.id, aad: contractAAD)
      }
      await provider.close()
    },
    Check("an unknown id is not found") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      let secret = SecretBytes.random(count: 32)
      let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      let unknown = KeyVersionID.make(after: version.id)
      try await expect(.keyNotFound, of: "wrap") {
        _ = try await provider.wrap(secret, under: unknown, aad: contractAAD)
      }
      try await expect(.keyNotFound, of: "unwrap") {
        _ = try await provider.unwrap(wrapped, under: unknown, aad: contractAAD)
      }
      try await expect(.keyNotFound, of: "set-state") { _ = try await provider.setState(.deactivated, of: unknown) }
      await provider.close()
    },
    Check("a key for encryption neither wraps nor unwraps") { factory in
      let provider = try await factory.make()
      let wrapping = try await provider.newVersion()
      let encrypting = try await provider.newVersion("contract-encrypt", purpose: .encrypt)
      let secret = SecretBytes.random(count: 32)
      let wrapped = try await provider.wrap(secret, under: wrapping.id, aad: contractAAD)
      try await expect(.keyPurposeForbids, of: "wrap") {
        _ = try await provider.wrap(secret, under: encrypting.id, aad: contractAAD)
      }
      try await expect(.keyPurposeForbids, of: "unwrap") {
        _ = try await provider.unwrap(wrapped, under: encrypting.id, aad: contractAAD)
      }
      await provider.close()
    },
  ]
}

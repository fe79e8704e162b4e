internal import KMSCore

extension ProviderContract {
  static let capabilityChecks: [Check] = [
    Check("direct encryption: what was encrypted comes back") { factory in
      let made = try await factory.make()
      guard let provider = made as? any DirectEncrypting else { return }
      let version = try await provider.newVersion("contract-encrypt", purpose: .encrypt)
      for count in [0, 1, 16, 1000, directEncryptionLimit] {
        let plaintext = [UInt8](repeating: 0x5A, count: count)
        let sealed = try await provider.encrypt(plaintext.span, under: version.id, aad: contractAAD)
        try require(sealed.iv.count == 12 && sealed.bytes.count == count + 16, "form of \(count) bytes")
        let back = try await provider.decrypt(sealed, under: version.id, aad: contractAAD)
        try require(back.unprotectedCopy() == plaintext, "\(count) bytes came back as others")
      }
      await provider.close()
    },
    Check("direct encryption takes a new IV each time") { factory in
      let made = try await factory.make()
      guard let provider = made as? any DirectEncrypting else { return }
      let version = try await provider.newVersion("contract-encrypt", purpose: .encrypt)
      var ivs: Set<[UInt8]> = []
      for _ in 0..<manyTimes {
        ivs.insert(try await provider.encrypt([1, 2, 3].span, under: version.id, aad: contractAAD).iv)
      }
      try require(ivs.count == manyTimes, "\(manyTimes) encryptions took \(ivs.count) IVs")
      await provider.close()
    },
    Check("direct encryption: what was changed does not open") { factory in
      let made = try await factory.make()
      guard let provider = made as? any DirectEncrypting else { return }
      let version = try await provider.newVersion("contract-encrypt", purpose: .encrypt)
      let sealed = try await provider.encrypt([1, 2, 3].span, under: version.id, aad: contractAAD)
      var flipped = sealed.bytes
      flipped[0] ^= 1
      var otherIV = sealed.iv
      otherIV[0] ^= 1
      let bad: [(DirectCiphertext, [UInt8])] = [
        (DirectCiphertext(iv: sealed.iv, bytes: flipped), contractAAD),
        (DirectCiphertext(iv: otherIV, bytes: sealed.bytes), contractAAD),
        (DirectCiphertext(iv: sealed.iv, bytes: Array(sealed.bytes.dropLast())), contractAAD),
        (DirectCiphertext(iv: sealed.iv, bytes: []), contractAAD),
        (DirectCiphertext(iv: [], bytes: sealed.bytes), contractAAD), (sealed, contractAAD + [0]),
      ]
      for (ciphertext, aad) in bad {
        try await expect(.doesNotOpen, of: "decrypt") {
          _ = try await provider.decrypt(ciphertext, under: version.id, aad: aad)
        }
      }
      await provider.close()
    },
    Check("direct encryption has its limits, purpose and states") { factory in
      let made = try await factory.make()
      guard let provider = made as? any DirectEncrypting else { return }
      let version = try await provider.newVersion("contract-encrypt", purpose: .encrypt)
      let wrapping = try await provider.newVersion("contract")
      let large = [UInt8](repeating: 0, count: directEncryptionLimit + 1)
      try await expect(.limitExceeded, of: "64 KiB and a byte") {
        _ = try await provider.encrypt(large.span, under: version.id, aad: contractAAD)
      }
      try await expect(.invalidInput, of: "no AAD") {
        _ = try await provider.encrypt([1].span, under: version.id, aad: [])
      }
      try await expect(.keyPurposeForbids, of: "a key for wrapping") {
        _ = try await provider.encrypt([1].span, under: wrapping.id, aad: contractAAD)
      }
      let sealed = try await provider.encrypt([1].span, under: version.id, aad: contractAAD)
      _ = try await provider.setState(.deactivated, of: version.id)
      try await expect(.keyStateForbids, of: "encrypt when deactivated") {
        _ = try await provider.encrypt([1].span, under: version.id, aad: contractAAD)
      }
      let back = try await provider.decrypt(sealed, under: version.id, aad: contractAAD)
      try require(back.unprotectedCopy() == [1], "a deactivated key no longer decrypts")
      await provider.close()
    },
    Check("an imported key is the key that was given") { factory in
      let made = try await factory.make()
      guard let provider = made as? any KeyImporting else { return }
      let kek = secretBytes(from: 0, count: 32)
      let secret = secretBytes(from: 0x40, count: 32)
      let version = try await provider.importKeyVersion(NewKeyVersion(key: KeyName("contract")), material: kek)
      let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      try require(try await provider.gives(secret, for: wrapped, under: version.id), "another key came back")
      if wrapped.algorithm == .a256KW {
        let again = try await provider.importKeyVersion(NewKeyVersion(key: KeyName("contract-again")), material: kek)
        let second = try await provider.wrap(secret, under: again.id, aad: contractAAD)
        try require(second == wrapped, "the same KEK wraps the same key differently")
      }
      try await expect(.duplicateKeyVersion, of: "a second import") {
        _ = try await provider.importKeyVersion(NewKeyVersion(key: KeyName("contract"), id: version.id), material: kek)
      }
      let short = SecretBytes.random(count: 16)
      try await expect(.invalidInput, of: "16 bytes") {
        _ = try await provider.importKeyVersion(NewKeyVersion(key: KeyName("contract")), material: short)
      }
      let zeros = secretBytes(from: 0, step: 0, count: 32)
      try await expect(.invalidInput, of: "a key of zeros") {
        _ = try await provider.importKeyVersion(NewKeyVersion(key: KeyName("contract-zero")), material: zeros)
      }
      let old = try KeyVersionID(parsing: "0193b7a2-5c00-7abc-8def-0123456789ab")
      let back = try await provider.importKeyVersion(NewKeyVersion(key: KeyName("contract-id"), id: old), material: kek)
      let listed = try await provider.keyVersions(of: back.key)
      try require(listed.map(\.id) == [old] && listed == [back], "imported as \(old), it lists \(listed)")
      await provider.close()
    },
    Check("a recovery key comes by import only, wraps, and unwraps in no state") { factory in
      let made = try await factory.make()
      guard let provider = made as? any KeyImporting else { return }
      try await expect(.keyPurposeForbids, of: "making a recovery key") {
        _ = try await provider.newVersion("contract-recovery", purpose: .recovery)
      }
      let kek = secretBytes(from: 0, count: 32)
      let secret = secretBytes(from: 0x40, count: 32)
      let request = NewKeyVersion(key: try KeyName("contract-recovery"), purpose: .recovery)
      let version = try await provider.importKeyVersion(request, material: kek)
      try require(version.purpose == .recovery && version.state == .active, "it gave \(version)")
      let ordinary = try await provider.importKeyVersion(NewKeyVersion(key: KeyName("contract")), material: kek)
      let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      // Where ordinary keys wrap by something else, the offline copy is what opens it.
      if try await provider.wrap(secret, under: ordinary.id, aad: contractAAD).algorithm == wrapped.algorithm {
        try require(
          try await provider.gives(secret, for: wrapped, under: ordinary.id), "a copy of the key gives another key")
      }
      for state in [KeyState.active, .deactivated, .suspended, .compromised] {
        _ = try await provider.setState(state, of: version.id)
        let listed = try await provider.keyVersions(of: request.key)
        try require(
          listed.map(\.purpose) == [.recovery] && listed.map(\.state) == [state], "\(state): it lists \(listed)")
        try await expect(.keyPurposeForbids, of: "unwrap when \(state)") {
          _ = try await provider.unwrap(wrapped, under: version.id, aad: contractAAD)
        }
        guard state != .active else { continue }
        try await expect(.keyStateForbids, of: "wrap when \(state)") {
          _ = try await provider.wrap(secret, under: version.id, aad: contractAAD)
        }
      }
      if let reopen = factory.reopen {
        let again = try await reopen(provider)
        let listed = try await again.keyVersions(of: request.key)
        try require(
          listed.map(\.purpose) == [.recovery] && listed.map(\.state) == [.compromised], "reopened: \(listed)")
        await again.close()
      }
      _ = try await provider.setState(.destroyed, of: version.id)
      let left = try await provider.keyVersions(of: request.key)
      try require(left.isEmpty, "destroyed, but listed: \(left)")
      await provider.close()
    },
    Check("a recovery key that was deactivated wraps again when it is active again") { factory in
      let made = try await factory.make()
      guard let provider = made as? any KeyImporting else { return }
      let kek = secretBytes(from: 0, count: 32)
      let secret = secretBytes(from: 0x40, count: 32)
      let version = try await provider.importKeyVersion(
        NewKeyVersion(key: KeyName("contract-recovery"), purpose: .recovery), material: kek)
      let before = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      for state in [KeyState.deactivated, .suspended, .deactivated, .active] {
        _ = try await provider.setState(state, of: version.id)
      }
      let after = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      try require(after.algorithm != .a256KW || after == before, "it wraps otherwise")
      try await expect(.keyPurposeForbids, of: "unwrap") {
        _ = try await provider.unwrap(after, under: version.id, aad: contractAAD)
      }
      await provider.close()
    },
    Check("a rewrap inside gives the same key under the new version, and checks it") { factory in
      let made = try await factory.make()
      guard let provider = made as? any KeyRewrapping else { return }
      let old = try await provider.newVersion()
      let new = try await provider.createKeyVersion(NewKeyVersion(key: old.key, id: .make(after: old.id)))
      // Bytes C0 to DF, whose thumbprint (RFC 9679) is known.
      let secret = secretBytes(from: 0xC0, count: 32)
      let thumbprint: [UInt8] = [
        0x6B, 0x5E, 0x61, 0xC6, 0x8E, 0x23, 0xC1, 0xB3, 0x9B, 0xAD, 0xE6, 0xE5, 0x1E, 0xFA, 0xE4, 0x16, 0x33, 0x8F,
        0xAE, 0x91, 0xC9, 0x2D, 0xF5, 0x12, 0x78, 0x34, 0xCD, 0x6A, 0x51, 0xFD, 0xBB, 0xBD,
      ]
      let wrapped = try await provider.wrap(secret, under: old.id, aad: contractAAD)
      _ = try await provider.setState(.deactivated, of: old.id)
      let again: WrappedKey
      do {
        again = try await provider.rewrap(
          wrapped, from: old.id, to: new.id, thumbprint: thumbprint, aad: contractAAD)
      } catch let error as KMSError where error.code == .notSupported && wrapped.algorithm != .a256KW {
        return await provider.close()  // such keys are unwrapped and wrapped by whoever asks
      }
      try require(try await provider.gives(secret, for: again, under: new.id), "another key came back")
      try await expect(.doesNotOpen, of: "another thumbprint") {
        _ = try await provider.rewrap(
          wrapped, from: old.id, to: new.id, thumbprint: [UInt8](repeating: 0, count: 32), aad: contractAAD)
      }
      try await expect(.doesNotOpen, of: "from the wrong version") {
        _ = try await provider.rewrap(
          wrapped, from: new.id, to: new.id, thumbprint: thumbprint, aad: contractAAD)
      }
      try await expect(.keyStateForbids, of: "to a deactivated version") {
        _ = try await provider.rewrap(
          again, from: new.id, to: old.id, thumbprint: thumbprint, aad: contractAAD)
      }
      await provider.close()
    },
  ]
}

/// So many bytes that count up from `first`.
private func secretBytes(from first: UInt8, step: UInt8 = 1, count: Int) -> SecretBytes {
  SecretBytes(capacity: count) { output in
    for i in 0..<count { output.append(first &+ UInt8(i) &* step) }
  }
}

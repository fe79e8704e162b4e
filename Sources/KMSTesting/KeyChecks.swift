internal import KMSCore

extension ProviderContract {
  static let keyChecks: [Check] = [
    Check("a new store has no keys") { factory in
      let provider = try await factory.make()
      let versions = try await provider.keyVersions(of: nil)
      try require(versions.isEmpty, "it lists \(versions.count)")
      await provider.close()
    },
    Check("a created version is listed as it was asked for") { factory in
      let provider = try await factory.make()
      let request = NewKeyVersion(key: try KeyName("contract"))
      let made = try await provider.createKeyVersion(request)
      try require(
        made.id == request.id && made.key == request.key && made.purpose == .wrap && made.state == .active
          && made.provider == provider.identity.name, "it gave \(made)")
      let listed = try await provider.keyVersions(of: request.key)
      try require(listed == [made], "it lists \(listed)")
      await provider.close()
    },
    Check("versions are listed oldest first, by key") { factory in
      let provider = try await factory.make()
      var ids: [KeyVersionID] = []
      for _ in 0..<3 { ids.append(.make(after: ids.last)) }
      let key = try KeyName("contract")
      for id in [ids[1], ids[2], ids[0]] { _ = try await provider.createKeyVersion(NewKeyVersion(key: key, id: id)) }
      let other = try await provider.newVersion("contract-other")
      let listed = try await provider.keyVersions(of: key).map(\.id)
      try require(listed == ids, "the order is \(listed)")
      let all = try await provider.keyVersions(of: nil).map(\.id)
      try require(all == (ids + [other.id]).sorted(), "all in order: \(all)")
      await provider.close()
    },
    Check("an unknown key has no versions") { factory in
      let provider = try await factory.make()
      _ = try await provider.newVersion()
      let versions = try await provider.keyVersions(of: KeyName("contract-unknown"))
      try require(versions.isEmpty, "it lists \(versions)")
      await provider.close()
    },
    Check("an id is taken once, whatever key has it") { factory in
      let provider = try await factory.make()
      let first = try await provider.newVersion()
      for name in ["contract", "contract-other"] {
        try await expect(.duplicateKeyVersion, of: "a second \(first.id)") {
          _ = try await provider.createKeyVersion(NewKeyVersion(key: KeyName(name), id: first.id))
        }
      }
      let listed = try await provider.keyVersions(of: nil)
      try require(listed == [first], "the failure changed something: \(listed)")
      await provider.close()
    },
    Check("an adopted id of another form is an id") { factory in
      let provider = try await factory.make()
      let key = try KeyName("contract")
      let version = try await provider.createKeyVersion(NewKeyVersion(key: key, id: KeyVersionID([1, 2])))
      let secret = SecretBytes.random(count: 32)
      let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      try require(try await provider.gives(secret, for: wrapped, under: version.id), "it gives another key")
      let newer = try await provider.createKeyVersion(NewKeyVersion(key: key))
      let listed = try await provider.keyVersions(of: key)
      try require(listed == [version, newer], "it lists \(listed), where the adopted one comes first")
      _ = try await provider.setState(.deactivated, of: version.id)
      _ = try await provider.setState(.destroyed, of: version.id)
      let left = try await provider.keyVersions(of: key)
      try require(left == [newer], "with the adopted one destroyed, it lists \(left)")
      await provider.close()
    },
    Check("keys and their states outlive a provider") { factory in
      guard let reopen = factory.reopen else { return }
      let provider = try await factory.make()
      let old = try await provider.newVersion()
      let new = try await provider.createKeyVersion(NewKeyVersion(key: old.key, id: .make(after: old.id)))
      let secret = SecretBytes.random(count: 32)
      let wrapped = try await provider.wrap(secret, under: old.id, aad: contractAAD)
      _ = try await provider.setState(.deactivated, of: old.id)
      let again = try await reopen(provider)
      let listed = try await again.keyVersions(of: old.key)
      try require(listed.map(\.id) == [old.id, new.id], "it lists \(listed)")
      try require(listed.map(\.state) == [.deactivated, .active], "the states are \(listed.map(\.state))")
      try require(try await again.gives(secret, for: wrapped, under: old.id), "it gives another key")
      await provider.close()
      await again.close()
    },
  ]
}

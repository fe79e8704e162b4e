internal import KMSCore

extension ProviderContract {
  static let behaviourChecks: [Check] = [
    Check("eight tasks at once get right answers") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<8 {
          group.addTask {
            for _ in 0..<50 {
              let secret = SecretBytes.random(count: 32)
              let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
              try require(try await provider.gives(secret, for: wrapped, under: version.id), "another key came back")
            }
          }
        }
        try await group.waitForAll()
      }
      await provider.close()
    },
    Check("versions made at once are all there") { factory in
      let provider = try await factory.make()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<4 { group.addTask { _ = try await provider.newVersion() } }
        try await group.waitForAll()
      }
      let count = try await provider.keyVersions(of: KeyName("contract")).count
      try require(count == 4, "\(count) of 4 are there")
      await provider.close()
    },
    Check("a cancelled task's call is not started") { factory in
      let provider = try await factory.make()
      _ = try await provider.keyVersions(of: nil)
      let task = Task {
        while !Task.isCancelled { await Task.yield() }
        _ = try await provider.newVersion()
      }
      task.cancel()
      do {
        try await task.value
        throw ContractViolation("the call was made")
      } catch is CancellationError {}
      let versions = try await provider.keyVersions(of: nil)
      try require(versions.isEmpty, "a version was made")
      await provider.close()
    },
    Check("no error tells a key") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      let secret = SecretBytes(copying: [UInt8](repeating: 0xC5, count: 31).span)
      do {
        _ = try await provider.wrap(secret, under: version.id, aad: contractAAD)
        throw ContractViolation("31 bytes were wrapped")
      } catch let error as KMSError {
        let text = "\(error) \(error.cause ?? "")".lowercased()
        try require(!text.contains("c5c5") && !text.contains("197, 197"), "the error shows the key")
      }
      let wrapped = WrappedKey(algorithm: .a256KW, bytes: [UInt8](repeating: 0xC5, count: 40))
      do {
        _ = try await provider.unwrap(wrapped, under: version.id, aad: contractAAD)
        throw ContractViolation("something was unwrapped")
      } catch let error as KMSError {
        let text = "\(error) \(error.cause ?? "")".lowercased()
        try require(!text.contains("c5c5") && !text.contains("197, 197"), "the error shows the wrapped key")
      }
      await provider.close()
    },
    Check("a healthy provider says so, and changes nothing") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      let health = await provider.health()
      try require(health.isServing && !health.detail.isEmpty, "it says \(health)")
      try require(!health.detail.contains("\n"), "the detail is more than a line")
      let listed = try await provider.keyVersions(of: nil)
      try require(listed == [version], "it changed something")
      await provider.close()
    },
    Check("a closed provider serves nothing") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      let secret = SecretBytes.random(count: 32)
      let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      await provider.close()
      await provider.close()
      try await expect(.closed, of: "list") { _ = try await provider.keyVersions(of: nil) }
      try await expect(.closed, of: "create") { _ = try await provider.newVersion() }
      try await expect(.closed, of: "wrap") { _ = try await provider.wrap(secret, under: version.id, aad: contractAAD) }
      try await expect(.closed, of: "unwrap") {
        _ = try await provider.unwrap(wrapped, under: version.id, aad: contractAAD)
      }
      try await expect(.closed, of: "set-state") { _ = try await provider.setState(.deactivated, of: version.id) }
      if let importing = provider as? any KeyImporting {
        try await expect(.closed, of: "import") {
          _ = try await importing.importKeyVersion(NewKeyVersion(key: version.key), material: secret)
        }
      }
      if let encrypting = provider as? any DirectEncrypting {
        try await expect(.closed, of: "direct encryption") {
          _ = try await encrypting.encrypt([1].span, under: version.id, aad: contractAAD)
        }
      }
      let health = await provider.health()
      try require(!health.isServing, "it says that it serves")
    },
  ]
}

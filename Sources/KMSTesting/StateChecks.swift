internal import KMSCore

extension ProviderContract {
  static let stateChecks: [Check] = [
    Check("each state allows what it should") { factory in
      let provider = try await factory.make()
      let secret = SecretBytes.random(count: 32)
      for state in KeyState.allCases where state != .destroyed {
        let version = try await provider.newVersion("contract-\(state.rawValue)")
        let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
        let changed = try await provider.setState(state, of: version.id)
        try require(changed.state == state, "set to \(state), it says \(changed.state)")
        if state.wraps {
          _ = try await provider.wrap(secret, under: version.id, aad: contractAAD)
        } else {
          try await expect(.keyStateForbids, of: "wrap when \(state)") {
            _ = try await provider.wrap(secret, under: version.id, aad: contractAAD)
          }
        }
        if state.unwraps {
          try require(try await provider.gives(secret, for: wrapped, under: version.id), "\(state): another key")
        } else {
          try await expect(.keyStateForbids, of: "unwrap when \(state)") {
            _ = try await provider.unwrap(wrapped, under: version.id, aad: contractAAD)
          }
        }
      }
      await provider.close()
    },
    Check("every step of the transition table works, and no other") { factory in
      let provider = try await factory.make()
      for start in KeyState.allCases {
        for next in KeyState.allCases {
          let version = try await provider.newVersion("contract-\(start.rawValue)-\(next.rawValue)")
          if start == .destroyed { _ = try await provider.setState(.deactivated, of: version.id) }
          _ = try await provider.setState(start, of: version.id)
          if start == .destroyed {
            try await expect(.keyNotFound, of: "destroyed to \(next)") {
              _ = try await provider.setState(next, of: version.id)
            }
          } else if start.mayBecome(next) {
            let changed = try await provider.setState(next, of: version.id)
            try require(changed.state == next, "\(start) to \(next) gave \(changed.state)")
            // Who keeps the state as well.
            let listed = try await provider.keyVersions(of: version.key)
            try require(listed == (next == .destroyed ? [] : [changed]), "\(changed) is listed as \(listed)")
          } else {
            try await expect(.illegalStateTransition, of: "\(start) to \(next)") {
              _ = try await provider.setState(next, of: version.id)
            }
          }
          let listed = try await provider.keyVersions(of: version.key).map(\.state)
          let expected = start.mayBecome(next) && start != .destroyed ? next : start
          try require(listed == (expected == .destroyed ? [] : [expected]), "\(start) to \(next): listed as \(listed)")
        }
      }
      await provider.close()
    },
    Check("a version that was reactivated wraps again") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      let secret = SecretBytes.random(count: 32)
      for state in [KeyState.suspended, .active, .deactivated, .suspended, .deactivated, .active] {
        _ = try await provider.setState(state, of: version.id)
      }
      let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      try require(try await provider.gives(secret, for: wrapped, under: version.id), "another key came back")
      await provider.close()
    },
    Check("a destroyed version is gone") { factory in
      let provider = try await factory.make()
      let version = try await provider.newVersion()
      let secret = SecretBytes.random(count: 32)
      let wrapped = try await provider.wrap(secret, under: version.id, aad: contractAAD)
      _ = try await provider.setState(.deactivated, of: version.id)
      let changed = try await provider.setState(.destroyed, of: version.id)
      try require(changed.state == .destroyed, "it says \(changed.state)")
      try await expect(.keyNotFound, of: "unwrap") {
        _ = try await provider.unwrap(wrapped, under: version.id, aad: contractAAD)
      }
      await provider.close()
    },
  ]
}
